"""What the registry holds: customers, service points and meters, their columns and the rules of a row.

Rows are dated twice. *Valid* time (``from`` to before ``to``, empty = open) says when something was so,
*recorded* time when the registry was told; a row told later takes the place of the one with its key and
``from``. Rows of one id follow one another: each ends, at the latest, where the next begins. A row whose ``from``
is its ``to`` takes back the one that was told with this ``from``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from meterlake.errors import Invalid
from meterlake.readings import UTC_US

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

TEXT: Final = pa.string()
CLASSES: Final = ("residential", "business")


class Shape(NamedTuple):
    """Columns of a registry table by name, and the one that names its things."""

    key: str
    columns: Mapping[str, pa.DataType]

    @property
    def dated(self) -> bool:
        """Whether rows hold for a time."""
        return "from" in self.columns

    @property
    def schema(self) -> pa.Schema:
        """Schema of the table as `ports.Registry.table` gives it; ``extra`` is a JSON object of text."""
        return pa.schema([*self.columns.items(), ("extra", TEXT)])


SHAPES: Final[Mapping[str, Shape]] = MappingProxyType(
    {
        "customers": Shape("customer_id", {"customer_id": TEXT, "name": TEXT, "email": TEXT, "locale": TEXT}),
        "service_points": Shape(
            "service_point_id",
            {
                "service_point_id": TEXT,
                "customer_id": TEXT,
                "from": UTC_US,
                "to": UTC_US,
                "latitude": pa.float64(),
                "longitude": pa.float64(),
                "geohash": TEXT,
                "class": TEXT,
                "zone": TEXT,
                "tariff": TEXT,
                "feeder": TEXT,
                "transformer": TEXT,
            },
        ),
        "meters": Shape(
            "meter_id",
            {
                "meter_id": TEXT,
                "service_point_id": TEXT,
                "from": UTC_US,
                "to": UTC_US,
                "channels": TEXT,
                "interval_s": pa.int32(),
                "multiplier": TEXT,
            },
        ),
    }
)
"""The tables by name, in the order in which they refer to each other."""

COMPUTED: Final = ("geohash",)
"""Columns that the registry works out and never reads."""

SERIES_STATE: Final = pa.schema(
    [
        pa.field("meter_id", TEXT),
        pa.field("channel", TEXT),
        pa.field("interval_s", pa.int32()),
        pa.field("bucket", pa.int32()),
        pa.field("row", pa.int32()),
        pa.field("first_s", pa.int64()),
        pa.field("last_s", pa.int64()),
        pa.field("filled", pa.int64()),
    ]
)
"""A meter-channel of one interval: its place (row numbers are dense in a bucket and never change), the
start (seconds since 1970 UTC) of its first and last filled slot, and how many are filled."""

INSTALLATION_SCHEMA: Final = pa.schema(
    [
        *[(name, kind) for name, kind in SHAPES["meters"].columns.items()],
        *[
            (name, kind)
            for name, kind in SHAPES["service_points"].columns.items()
            if name not in {"service_point_id", "from", "to"}
        ],
    ]
)
"""A meter at a service point for a time, with what is now known of that place."""

GEOHASH_DIGITS: Final = 9
"""Digits kept: a cell of 4.8 m by 4.8 m at the equator."""

_OPEN_US: Final = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)
_BASE32: Final = np.frombuffer(b"0123456789bcdefghjkmnpqrstuvwxyz", np.uint8)


def geohash(
    latitude: npt.NDArray[np.float64], longitude: npt.NDArray[np.float64], digits: int = GEOHASH_DIGITS
) -> pa.Array:
    """Geohash of each place (degrees, WGS 84), ``digits`` characters (1 to 12); null where one is NaN.

    The bits of longitude and latitude alternate, longitude first, five to a character (G. Niemeyer, 2008).

    >>> geohash(np.array([57.64911]), np.array([10.40744])).to_pylist()
    ['u4pruydqq']
    """
    known = ~(np.isnan(latitude) | np.isnan(longitude))
    bits = digits * 5
    parts = []
    for degrees, span, n in ((longitude, 360.0, (bits + 1) // 2), (latitude, 180.0, bits // 2)):
        cell = np.floor((np.where(known, degrees, 0.0) / span + 0.5) * 2.0**n).astype(np.int64)
        parts.append((np.clip(cell, 0, 2**n - 1), n))
    letters = np.zeros((len(latitude), digits), np.uint8)
    for place in range(bits):
        cells, n = parts[place % 2]
        bit = (cells >> (n - 1 - place // 2)) & 1
        letters[:, place // 5] |= (bit << (4 - place % 5)).astype(np.uint8)
    texts = _BASE32[letters].reshape(-1).tobytes()
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(digits),
        len(latitude),
        [pa.array(known).buffers()[1] if len(known) else None, pa.py_buffer(texts)],
    )
    return fixed.cast(pa.binary()).cast(TEXT)


def successions(name: str, rows: pa.Table) -> pa.Table:
    """Rows of a dated table as they follow one another: cut where the next of the id begins, empty ones left out.

    ``rows`` has one row an id and ``from``; the result is sorted by id and ``from``.
    """
    shape = SHAPES[name]
    if not shape.dated:
        return rows.sort_by(shape.key)
    start, end = _span_us(rows)
    rows = rows.append_column("_start", pa.array(start)).filter(pa.array(start != end))
    rows = rows.sort_by([(shape.key, "ascending"), ("_start", "ascending")])
    start, end = rows["_start"].to_numpy(), _span_us(rows)[1]
    ids = rows[shape.key].combine_chunks().dictionary_encode().indices.to_numpy()
    follows = ids[1:] == ids[:-1]
    cut = end.copy()
    cut[:-1] = np.where(follows, np.minimum(end[:-1], start[1:]), end[:-1])
    to = pa.array(cut, mask=cut == _OPEN_US[1]).cast(UTC_US)
    return rows.drop_columns("_start").set_column(rows.column_names.index("to"), "to", to)


def _span_us(rows: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Start and end of each row; open ones reach to the ends of time."""
    start, end = (
        rows[name].cast(pa.int64()).fill_null(instead).to_numpy()
        for name, instead in zip(("from", "to"), _OPEN_US, strict=True)
    )
    return start, end


def valid_at(name: str, rows: pa.Table, moment_us: int) -> pa.Table:
    """Rows of a dated table (as `successions` gives them) that hold at a moment, microseconds since 1970 UTC."""
    if not SHAPES[name].dated:
        return rows
    start, end = _span_us(rows)
    return rows.filter(pa.array((start <= moment_us) & (moment_us < end)))


def shape_of(name: str) -> Shape:
    """Shape of the table ``name``; Invalid where there is none."""
    shape = SHAPES.get(name)
    if shape is None:
        raise Invalid(f"{name!r} is no table of the registry: write one of {', '.join(SHAPES)}")
    return shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a row of a registry file was refused."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        """Return file, line and what is wrong with the remedy."""
        return f"{self.file} line {self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


class RefusedRows(Invalid):
    """Rows of a registry import that cannot be; nothing of the import was taken."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Name the first of ``problems`` and how many more there are."""
        more = f" ({len(problems) - 1} more such rows)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}; nothing was imported")
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReceipt:
    """What an import did to one table."""

    rows: int
    added: int
    changed: int

    @property
    def unchanged(self) -> int:
        """Rows that the registry held already."""
        return self.rows - self.added - self.changed


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryReceipt:
    """What an import did."""

    tables: Mapping[str, TableReceipt]
    warnings: Sequence[str] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        tables = {
            name: {"rows": t.rows, "added": t.added, "changed": t.changed, "unchanged": t.unchanged}
            for name, t in self.tables.items()
        }
        return {"tables": tables, "warnings": list(self.warnings)}
