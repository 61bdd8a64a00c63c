"""Bytes of a text file to UTF-8, piece by piece: checked, or decoded from a declared encoding."""

from __future__ import annotations

import codecs
from typing import Final, Protocol

from meterlake.errors import BadFile, Invalid

_MARK: Final = codecs.BOM_UTF8
_WIDE_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Decoder(Protocol):
    """Turns pieces of a file into pieces of UTF-8; a character may be cut anywhere."""

    def __call__(self, piece: bytes, *, final: bool) -> bytes:
        """Return what is complete so far; ``final`` says that nothing follows."""


def decoder(encoding: str | None) -> Decoder:
    """Decoder for a declared encoding; without one the file must be UTF-8. A byte order mark is dropped.

    The decoder raises BadFile at bytes that are not of the encoding.

    Raises:
        Invalid: there is no such encoding.

    """
    if encoding is None:
        return _Checked()
    try:
        make = codecs.getincrementaldecoder(encoding)
    except LookupError:
        raise Invalid(
            f"--encoding {encoding}: no such encoding; write utf-8, utf-16, latin-1 or cp1252"
        ) from None
    return _Decoded(encoding, make())


class _Checked:
    """UTF-8 passed through as it is; plain ASCII costs one look at memory speed."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._held: bytes | None = b""
        """A beginning that may yet become a mark; None once that is decided."""
        self._at = 0

    def __call__(self, piece: bytes, *, final: bool) -> bytes:
        cut_before = bool(self._decoder.getstate()[0])
        if cut_before or not piece.isascii():
            self._check(piece, final=final)
        self._at += len(piece)
        if self._held is None:
            return piece
        begun = self._held + piece
        if not final and len(begun) < len(_MARK) and _MARK.startswith(begun):
            self._held = begun
            return b""
        self._held = None
        return begun.removeprefix(_MARK)

    def _check(self, piece: bytes, *, final: bool) -> None:
        try:
            self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            if self._at == 0 and piece.startswith(_WIDE_MARKS):
                raise BadFile("the file is UTF-16, not UTF-8; declare it with --encoding utf-16") from None
            at = self._at + error.start
            raise BadFile(
                f"byte {at + 1} is not UTF-8 ({error.object[error.start : error.end]!r}); declare what it is, "
                "e.g. --encoding latin-1 or --encoding utf-16"
            ) from None


class _Decoded:
    """Any other encoding, by way of text."""

    def __init__(self, encoding: str, incremental: codecs.IncrementalDecoder) -> None:
        self._encoding, self._decoder = encoding, incremental
        self._begun = False

    def __call__(self, piece: bytes, *, final: bool) -> bytes:
        try:
            text = self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            raise BadFile(
                f"{error.object[error.start : error.end]!r} is not {self._encoding}; declare another --encoding"
            ) from None
        if not self._begun and text:
            self._begun = True
            text = text.removeprefix("\ufeff")
        return text.encode("utf-8", "replace")
