"""The frame of a text file: its header, its last line, and the text of what was refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from meterlake.readings import REASON_CODES
from meterlake.strips import Ints, Rejects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.formats.codec import Chunk

LINE_MAX: Final = 1 << 20
"""A line longer than this is no record of any meter file."""
TEXT_MAX: Final = 1024
"""Bytes of a refused line that are kept."""
_ENDINGS: Final = b' \t\r,;"'
"""Bytes that a complete line may end in and a cut one lacks."""

REJECT: Final = 5
R_LINE, R_START, R_STOP, R_REASON, R_COUNT = range(REJECT)
"""Columns of a kernel's table of rejects."""


@dataclass(slots=True)
class Body:
    """The records of a chunk as a kernel wants them: bytes that end in a newline."""

    data: npt.NDArray[np.uint8]
    raw: bytes
    start: int
    """Where the first record begins, behind header lines."""
    line: int
    """Number of that line."""
    open_line: int = 0
    """Number of a last line that lacks its newline but was taken; 0 if there is none."""
    cut: Rejects | None = None
    """The last line where it was cut off."""


def body_of(chunk: Chunk, header_lines: int, ending: bytes) -> Body:
    """Prepare a chunk: pass over header lines, take or refuse a last line without newline.

    ``ending`` is what all other lines end in before their newline (which may be CR LF).
    """
    raw, start, line = chunk.data, 0, chunk.line
    while line <= header_lines and start < len(raw):
        start = raw.find(b"\n", start) + 1 or len(raw)
        line += 1
    body = Body(np.empty(0, np.uint8), raw, start, line)
    if not raw.endswith(b"\n") and start < len(raw):
        at = max(raw.rfind(b"\n") + 1, start)
        tail = raw[at:]
        number = line + raw.count(b"\n", start, at)
        if ending and tail.strip() and not tail.removesuffix(b"\r").endswith(ending):
            reason = np.array([REASON_CODES["truncated"]], np.uint8)
            body.cut = Rejects(np.array([number]), reason, np.ones(1, np.int32), [text_of(tail)])
            body.raw = raw[:at]
        else:
            body.open_line = number if tail.strip() else 0
            body.raw = raw + b"\n"
    body.data = np.frombuffer(body.raw, np.uint8)
    return body


def text_of(line: bytes) -> str:
    """Text of a refused line: at most 1 kB, whatever its bytes."""
    return line[:TEXT_MAX].decode("utf-8", "replace").rstrip("\r\n")


def rejects_of(body: Body, table: Ints) -> Rejects:
    """Rejects with their texts from a kernel's table (`R_LINE` …); a taken but broken last line is truncated."""
    reason = table[:, R_REASON].astype(np.uint8)
    if body.open_line:
        broken = (table[:, R_LINE] == body.open_line) & (reason == REASON_CODES["malformed_line"])
        reason[broken] = REASON_CODES["truncated"]
    texts = texts_of(body, table[:, R_START], table[:, R_STOP])
    found = Rejects(table[:, R_LINE].copy(), reason, table[:, R_COUNT].astype(np.int32), texts)
    return found if body.cut is None else join([found, body.cut])


def texts_of(body: Body, starts: Ints, stops: Ints) -> list[str]:
    """Text of some lines of ``body``."""
    raw = body.raw
    return [
        text_of(raw[a : min(b, a + TEXT_MAX)]) for a, b in zip(starts.tolist(), stops.tolist(), strict=True)
    ]


def join(piles: Sequence[Rejects]) -> Rejects:
    """All entries of ``piles`` in their order."""
    return Rejects(
        np.concatenate([pile.line for pile in piles]),
        np.concatenate([pile.reason for pile in piles]),
        np.concatenate([pile.count for pile in piles]),
        [text for pile in piles for text in pile.text],
    )


def ending_of(lines: Sequence[bytes]) -> bytes:
    """What all ``lines`` (without LF) end in before their newline: blanks, delimiters or quotes; maybe nothing."""
    common: bytes | None = None
    for line in lines:
        line = line.removesuffix(b"\r")  # noqa: PLW2901
        tail = line[len(line.rstrip(_ENDINGS)) :]
        if common is None:
            common = tail
        while common and not tail.endswith(common):
            common = common[1:]
        if not common:
            break
    return common or b""
