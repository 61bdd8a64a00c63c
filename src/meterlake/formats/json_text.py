"""JSON byte by byte, strictly as RFC 8259 has it: what the kernels pass over, and documents cut into lines.

All texts end in a newline and are padded (`octets.PAD`); a newline stands in no value, so no loop needs to ask
for the end.
"""

# ruff: noqa: C901, PLR0911, PLR0912, PLR1714
# mypy: disable-error-code="no-any-return, assignment, return-value"
# Compiled by Numba: plain comparisons and loops become plain machine code, numbers are all 64 bits wide,
# and helpers take many arguments because a kernel has no objects to keep them in.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numba import njit

from meterlake.errors import Invalid
from meterlake.formats.octets import PAD, alike, plain_text
from meterlake.formats.pointer import pointer

if TYPE_CHECKING:
    from meterlake.strips import Ints

BROKEN: Final = -1
"""In place of a position: this is no JSON, or not what a reading may hold."""
DEEPEST: Final = 64
"""Levels of what a member may hold that is passed over; a bit each."""
MEMBERS_MAX: Final = 64
"""An object with more members is taken for one reading."""
_READINGS: Final = np.frombuffer(b'"readings"' + bytes(PAD), np.uint8)
REMEDY: Final = 'send a reading, a list of them, or {"defaults": {…}, "readings": […]}'


@njit(nogil=True, cache=True, error_model="numpy")
def blank(data: Any, i: int) -> int:  # pragma: no cover - compiled
    """Position of the next byte that is no blank; a newline is none."""
    while data[i] == 32 or data[i] == 9 or data[i] == 13:
        i += 1
    return i


@njit(nogil=True, cache=True, error_model="numpy")
def _hex(data: Any, i: int) -> int:  # pragma: no cover - compiled
    """Number that four hexadecimal digits stand for; `BROKEN` where they are none."""
    value = 0
    for k in range(4):
        c = np.int64(data[i + k])
        if 48 <= c <= 57:
            digit = c - 48
        elif 97 <= c | 32 <= 102:
            digit = (c | 32) - 87
        else:
            return BROKEN
        value = value * 16 + digit
    return value


@njit(nogil=True, cache=True, error_model="numpy")
def string(data: Any, i: int) -> tuple[int, bool]:  # pragma: no cover - compiled
    """Position of the quote that ends the text at ``i`` (or `BROKEN`), and whether escapes stand in between."""
    escaped = False
    while True:
        i = plain_text(data, i)
        c = data[i]
        if c == 34:
            return i, escaped
        if c < 32:
            return BROKEN, escaped
        if c == 92:
            escaped = True
            i += 1
            e = data[i]
            if e == 117:
                if _hex(data, i + 1) < 0:
                    return BROKEN, escaped
                i += 4
            elif not (
                e == 34 or e == 92 or e == 47 or e == 98 or e == 102 or e == 110 or e == 114 or e == 116
            ):
                return BROKEN, escaped
        i += 1


@njit(nogil=True, cache=True, error_model="numpy")
def _encode(data: Any, w: int, code: int) -> int:  # pragma: no cover - compiled
    """Write a character as UTF-8 at ``w``; position behind it."""
    if code < 0x80:
        data[w] = np.uint8(code)
        return w + 1
    if code < 0x800:
        data[w] = np.uint8(0xC0 | code >> 6)
    else:
        if code < 0x10000:
            data[w] = np.uint8(0xE0 | code >> 12)
        else:
            data[w] = np.uint8(0xF0 | code >> 18)
            w += 1
            data[w] = np.uint8(0x80 | (code >> 12 & 0x3F))
        w += 1
        data[w] = np.uint8(0x80 | (code >> 6 & 0x3F))
    data[w + 1] = np.uint8(0x80 | (code & 0x3F))
    return w + 2


@njit(nogil=True, cache=True, error_model="numpy")
def plain(data: Any, a: int, b: int) -> int:  # pragma: no cover - compiled
    """Undo the escapes of ``data[a:b]``, which `_string` found good, in place.

    The new end; `BROKEN` where it holds a control character or half a pair.
    """
    i = w = a
    while i < b:
        code = np.int64(data[i])
        if code != 92:
            data[w] = data[i]
            w += 1
            i += 1
            continue
        code = np.int64(data[i + 1])
        i += 2
        if code == 117:
            code = _hex(data, i)
            i += 4
            if 0xD800 <= code < 0xE000:
                if code >= 0xDC00 or i + 6 > b or data[i] != 92 or data[i + 1] != 117:
                    return BROKEN
                low = _hex(data, i + 2)
                if low < 0xDC00 or low >= 0xE000:
                    return BROKEN
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                i += 6
            if code < 32:
                return BROKEN
        elif code > 92:
            return BROKEN
        w = _encode(data, w, code)
    return w


@njit(nogil=True, cache=True, error_model="numpy")
def _digits(data: Any, i: int) -> int:  # pragma: no cover - compiled
    """Position behind one digit or more; `BROKEN` where there is none."""
    first = i
    while 48 <= data[i] <= 57:
        i += 1
    return i if i > first else BROKEN


@njit(nogil=True, cache=True, error_model="numpy")
def scalar(data: Any, i: int) -> int:  # pragma: no cover - compiled
    """Position behind the number, ``true``, ``false`` or ``null`` at ``i``; `BROKEN` where it is none."""
    c = data[i]
    if c == 116:
        good = data[i + 1] == 114 and data[i + 2] == 117 and data[i + 3] == 101
        return i + 4 if good else BROKEN
    if c == 110:
        good = data[i + 1] == 117 and data[i + 2] == 108 and data[i + 3] == 108
        return i + 4 if good else BROKEN
    if c == 102:
        good = data[i + 1] == 97 and data[i + 2] == 108 and data[i + 3] == 115
        return i + 5 if good and data[i + 4] == 101 else BROKEN
    if c == 45:
        i += 1
    if data[i] == 48:
        i += 1
    else:
        i = _digits(data, i)
    if i >= 0 and data[i] == 46:
        i = _digits(data, i + 1)
    if i >= 0 and data[i] | 32 == 101:
        i += 1
        if data[i] == 43 or data[i] == 45:
            i += 1
        i = _digits(data, i)
    return i


@njit(nogil=True, cache=True, error_model="numpy")
def _name(data: Any, i: int) -> int:  # pragma: no cover - compiled
    """Position of the value behind the name and colon at ``i``."""
    if data[i] != 34:
        return BROKEN
    stop, _ = string(data, i + 1)
    if stop < 0:
        return BROKEN
    i = blank(data, stop + 1)
    return blank(data, i + 1) if data[i] == 58 else BROKEN


@njit(nogil=True, cache=True, error_model="numpy")
def past(data: Any, i: int) -> int:  # pragma: no cover - compiled
    """Position behind the value at ``i``, whatever it holds; `BROKEN` where it is none or too deep."""
    depth, inside = 0, np.uint64(0)  # a bit each level, the lowest for the innermost: 1 in an object
    while True:
        c = data[i]
        if c == 123 or c == 91:
            depth += 1
            if depth > DEEPEST:
                return BROKEN
            inside = inside << np.uint64(1) | np.uint64(c == 123)
            i = blank(data, i + 1)
            if data[i] != c + 2:
                if c == 123:
                    i = _name(data, i)
                    if i < 0:
                        return BROKEN
                continue
        elif c == 34:
            i, _ = string(data, i + 1)
            if i < 0:
                return BROKEN
            i += 1
        else:
            i = scalar(data, i)
            if i < 0:
                return BROKEN
        while True:
            if depth == 0:
                return i
            i = blank(data, i)
            c = data[i]
            if c == 44:
                i = blank(data, i + 1)
                if inside & np.uint64(1):
                    i = _name(data, i)
                    if i < 0:
                        return BROKEN
                break
            if c != (125 if inside & np.uint64(1) else 93):
                return BROKEN
            depth -= 1
            inside >>= np.uint64(1)
            i += 1


@njit(nogil=True, cache=True, error_model="numpy")
def _cut_list(text: Any, i: int) -> int:  # pragma: no cover - compiled
    """Make each item of the list at ``i`` a line of its own, in place: position behind it, or `BROKEN`."""
    text[i] = np.uint8(32)
    i = blank(text, i)
    if text[i] == 93:
        text[i] = np.uint8(32)
        return i + 1
    while True:
        i = past(text, i)
        if i < 0:
            return BROKEN
        i = blank(text, i)
        c = text[i]
        if c != 44 and c != 93:
            return BROKEN
        text[i] = np.uint8(10)
        i += 1
        if c == 93:
            return i
        i = blank(text, i)


@njit(nogil=True, cache=True, error_model="numpy")
def _cut_document(data: Any, spans: Any, name: Any) -> int:  # pragma: no cover - compiled
    """Cut a document into lines in place where it is a list, or an object with a list as member ``name``.

    ``spans`` gets start and end of each member's name (with its quotes and colon) and end of its value, of a
    list those of itself. How many there are, or `BROKEN` where it is neither list nor object.
    """
    text, wanted = pointer(data), pointer(name)
    size = len(name) - PAD
    i = blank(text, 0)
    if text[i] == 91:
        spans[0, 0] = spans[0, 1] = i
        i = _cut_list(text, i)
        if i < 0 or text[blank(text, i)] != 10:
            return BROKEN
        spans[0, 2] = i
        return 1
    if text[i] != 123:
        return BROKEN
    n = 0
    i = blank(text, i + 1)
    closed = text[i] == 125
    while not closed:
        a = i
        i = _name(text, a)
        if i < 0:
            return BROKEN
        lists = text[i] == 91 and n < len(spans) and alike(text, a, wanted, 0, size)
        b = _cut_list(text, i) if lists else past(text, i)
        if b < 0:
            return BROKEN
        if n < len(spans):
            spans[n, 0], spans[n, 1], spans[n, 2] = a, i, b
        n += 1
        i = blank(text, b)
        closed = text[i] == 125
        if not closed:
            if text[i] != 44:
                return BROKEN
            i = blank(text, i + 1)
    return n if text[blank(text, i + 1)] == 10 else BROKEN


def lines_of(body: bytes) -> tuple[bytes, bytes | None]:
    """Readings of a JSON document as lines, and its ``defaults`` where it has some.

    A document is a list of readings, an object with a list ``readings``, or one reading.

    Raises:
        Invalid: it is no JSON, or none of these.

    """
    text = body.replace(b"\n", b"\r")  # a blank between values still, and no more allowed inside of text
    data = padded(text)
    spans: Ints = np.zeros((MEMBERS_MAX, 3), np.int64)
    count = _cut_document(data, spans, _READINGS)
    if count < 0:
        raise Invalid(f"the body is no JSON of readings: {_why(body)}; {REMEDY}")
    if text.lstrip()[:1] == b"[":
        return _cut(data, spans[0]), None
    if count <= MEMBERS_MAX:
        told = {text[a:b].rstrip(b" \t\r:"): k for k, (a, b, _) in enumerate(spans[:count].tolist())}
        readings = told.get(b'"readings"')
        if readings is not None:
            if not _value(text, spans[readings]).startswith(b"["):
                raise Invalid(f"readings is no list; {REMEDY}")
            defaults = told.get(b'"defaults"')
            return _cut(data, spans[readings]), None if defaults is None else _value(text, spans[defaults])
    return text.replace(b"\r", b" ") + b"\n", None


def _value(text: bytes, span: Ints) -> bytes:
    return text[int(span[1]) : int(span[2])]


def _cut(data: Any, span: Ints) -> bytes:
    """Lines that a list became."""
    lines: bytes = data[span[1] : span[2]].tobytes()
    return lines.replace(b"\r", b" ")


def padded(text: bytes) -> Any:
    """Bytes as an array that kernels may write to and read a little beyond: uint8, ends in newlines."""
    data = np.full(len(text) + 1 + PAD, 10, np.uint8)
    data[: len(text)] = np.frombuffer(text, np.uint8)
    return data


def _why(body: bytes) -> str:
    """What is wrong with a document, and where."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        return f"{error}, which has {len(body)} bytes" if "truncated" in str(error) else str(error)
    except RecursionError:
        return f"it is nested deeper than {DEEPEST} levels"
    if body.lstrip()[:1] not in {b"[", b"{"}:
        return "it is neither a list nor an object"
    return f"it is nested deeper than {DEEPEST} levels"
