"""CSV as it is read everywhere: a header, commas, quotes only where a text needs them, empty for nothing."""

from __future__ import annotations

from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc

ROWS_AT_ONCE: Final = 65_536
_SPECIAL: Final = r'[,"\r\n]'


def write_csv(table: pa.Table, out: IO[bytes]) -> None:
    """Write ``table``, all of whose columns are text; a null is an empty cell."""
    out.write(",".join(_quoted(pa.array(table.column_names)).to_pylist()).encode() + b"\n")
    for low in range(0, len(table), ROWS_AT_ONCE):
        cells = [_quoted(column.combine_chunks()) for column in table.slice(low, ROWS_AT_ONCE).columns]
        lines = pc.binary_join_element_wise(*cells, ",", null_handling="replace", null_replacement="")
        out.write("\n".join(lines.to_pylist()).encode() + b"\n")


def _quoted(cells: pa.Array) -> pa.Array:
    special = pc.match_substring_regex(cells, _SPECIAL)
    if not pc.any(special).as_py():
        return cells
    doubled = pc.binary_join_element_wise('"', pc.replace_substring(cells, '"', '""'), '"', "")
    return pc.if_else(special, doubled, cells)
