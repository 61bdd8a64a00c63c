"""Files as the loader meets them: found, unpacked, decoded to UTF-8, hashed, and cut into chunks."""

from __future__ import annotations

import glob
import hashlib
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from meterlake.errors import BadFile, Invalid
from meterlake.formats.codec import Chunk
from meterlake.formats.text import decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from meterlake.strips import Ints

PIECE: Final = 8 << 20
"""Bytes read at once."""

HEAD: Final = 1 << 20
"""Bytes that a format is recognised by."""

LINE_MAX: Final = 1 << 20
"""A line longer than this is no record of any meter file: it is refused and passed over."""

RECORD_MAX: Final = 64 << 20
"""Most bytes between two places where a file may be cut."""

PACKED: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
IGNORED: Final = (".", "_")


@dataclass(slots=True)
class Source:
    """One file to read: on disk, packed, or a member of an archive."""

    path: str
    """As named to the user; a member is ``archive.zip!member``."""
    file: Path
    member: str | None = None
    bytes: int = 0
    sha256: str = ""
    """Of the bytes on disk, once read."""
    content: str = ""
    """SHA-256 of the decoded content, once read."""

    @property
    def name(self) -> str:
        """File name without folders and packing: what a source is called by default."""
        name = self.member.rpartition("/")[2] if self.member else self.file.name
        stem, dot, suffix = name.rpartition(".")
        return stem if dot + suffix in PACKED else name

    def is_parquet(self) -> bool:
        """Whether the file is Parquet, by its first bytes."""
        if self.member or self.file.suffix in PACKED:
            return False
        with self.file.open("rb") as file:
            return file.read(4) == b"PAR1"

    def open(self) -> IO[Any]:
        """Open the unpacked bytes."""
        if self.member is not None:
            return zipfile.ZipFile(self.file).open(self.member)
        packing = PACKED.get(self.file.suffix)
        if packing is not None:
            stream: IO[Any] = pa.CompressedInputStream(pa.OSFile(str(self.file)), packing)
            return stream
        return self.file.open("rb")


def find(paths: Sequence[str], spool: Path) -> list[Source]:
    """Sources named by files, folders, globs and archives, sorted within each; ``-`` is standard input.

    Raises:
        Invalid: nothing is found under a name.

    """
    found: list[Source] = []
    for text in paths:
        if text == "-":
            found.append(_standard_input(spool))
            continue
        path = Path(text)
        hits = sorted(_files(path)) if path.is_dir() else [path] if path.exists() else sorted(_globbed(text))
        if not hits:
            raise Invalid(f"{text}: no such file or folder; check the path or quote the pattern")
        for hit in hits:
            found += _members(hit)
    return found


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(IGNORED))


def _globbed(pattern: str) -> list[Path]:
    hits = glob.glob(pattern, recursive=True)  # noqa: PTH207 - a pattern may be absolute and hold **
    return [Path(hit) for hit in hits if Path(hit).is_file()]


def _members(path: Path) -> list[Source]:
    size = path.stat().st_size
    if path.suffix.lower() != ".zip":
        return [Source(str(path), path, bytes=size)]
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError):
        return [Source(str(path), path, bytes=size)]
    return [Source(f"{path}!{name}", path, name, bytes=size) for name in sorted(names)]


def _standard_input(spool: Path) -> Source:
    """Standard input kept as a file: rejects are looked up in it later."""
    with tempfile.NamedTemporaryFile(dir=spool, prefix="stdin-", delete=False) as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return Source("-", Path(file.name), bytes=Path(file.name).stat().st_size)


@dataclass(slots=True)
class LongLine:
    """A line too long to be a record: its number and its first bytes."""

    line: int
    text: str


@dataclass(slots=True)
class Reader:
    """Reads one source once, front to back; hashes what passes."""

    source: Source
    encoding: str | None
    consumed: int = 0
    """Bytes of decoded text so far."""
    _content: hashlib._Hash = field(default_factory=hashlib.sha256)

    def pieces(self) -> Iterator[bytes]:
        """Decoded UTF-8 pieces of about `PIECE` bytes; BadFile where the packing or encoding is broken."""
        plain = self.source.member is None and self.source.file.suffix not in PACKED
        decode = decoder(self.encoding)
        try:
            with self.source.open() as stream:
                while piece := stream.read(PIECE):
                    self._content.update(piece)
                    self.consumed += len(piece)
                    yield decode(piece, final=False)
                yield decode(b"", final=True)
        except (OSError, EOFError, zipfile.BadZipFile, RuntimeError, pa.ArrowException) as error:
            raise BadFile(
                f"{self.source.path}: cannot be unpacked or read ({error}); send it again"
            ) from error
        self.source.content = self._content.hexdigest()
        self.source.sha256 = self.source.content if plain else file_hash(self.source.file)

    def chunks(self, border: Callable[[bytes], int], pieces: Iterator[bytes]) -> Iterator[Chunk | LongLine]:
        """Cut ``pieces`` at places that ``border`` allows; lines beyond `LINE_MAX` come as `LongLine`.

        How many lines went before is known only once they are parsed, so lines are numbered within their
        chunk: see `LINES`.
        """
        seq, rest = 0, b""
        for piece in pieces:
            cut = border(piece)
            if cut:
                yield Chunk(b"".join((rest, memoryview(piece)[:cut])), first_line(seq))
                seq, rest = seq + 1, piece[cut:]
                continue
            rest += piece
            if len(rest) > LINE_MAX and b"\n" not in rest[-LINE_MAX:]:
                rest, seq = yield from self._pass_over(rest, pieces, seq)
            elif len(rest) > RECORD_MAX:
                raise BadFile(f"{self.source.path}: no end of a record within 64 MiB")
        yield Chunk(rest, first_line(seq), last=True)

    def _pass_over(
        self, data: bytes, pieces: Iterator[bytes], seq: int
    ) -> Generator[Chunk | LongLine, None, tuple[bytes, int]]:
        """Give out what stands before an endless line, the line as refused, and what follows it."""
        start = data.rfind(b"\n") + 1
        if start:
            yield Chunk(data[:start], first_line(seq))
            seq += 1
        yield LongLine(first_line(seq), data[start : start + 1024].decode("utf-8", "replace"))
        rest = b""
        for piece in pieces:
            end = piece.find(b"\n")
            if end >= 0:
                rest = piece[end + 1 :]
                break
        return rest, seq + 1


LINES: Final = 1 << 40
"""Line numbers of chunk k start at ``k * LINES + 1`` until its place in the file is known."""


def first_line(seq: int) -> int:
    """Number of the first line of chunk ``seq``, before its place in the file is known."""
    return seq * LINES + 1


def line_numbers(lines: Ints, counts: Mapping[int, int]) -> Ints:
    """Numbers within the file of ``lines`` numbered within chunks; ``counts`` are the lines of each chunk."""
    before = np.zeros(max(counts, default=0) + 2, np.int64)
    for seq, count in counts.items():
        before[seq + 1] = count
    return np.cumsum(before)[lines // LINES] + lines % LINES


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def head_of(pieces: Iterator[bytes]) -> tuple[bytes, bool, Iterator[bytes]]:
    """First bytes, up to about `HEAD`; whether they are all; and the pieces again from the start."""
    taken: list[bytes] = []
    size, ended = 0, False
    while size < HEAD:
        piece = next(pieces, None)
        if piece is None:
            ended = True
            break
        taken.append(piece)
        size += len(piece)

    def again() -> Iterator[bytes]:
        yield from taken
        taken.clear()
        yield from pieces

    return b"".join(taken)[:HEAD], ended and size <= HEAD, again()


def texts_of(source: Source, encoding: str | None, lines: Sequence[int]) -> dict[int, str]:
    """Text (at most 1 kB) of some lines of a source, by number; read again, front to back."""
    wanted = sorted(set(lines))
    found: dict[int, str] = {}
    if not wanted:
        return found
    if source.is_parquet():
        return dict.fromkeys(wanted, "")
    chosen = iter(wanted)
    target, line, rest = next(chosen), 1, b""
    for piece in Reader(source, encoding).pieces():
        data = rest + piece
        cut = data.rfind(b"\n") + 1
        whole, rest = data[:cut], data[cut:]
        if not cut:
            rest = rest[:LINE_MAX]
        n = whole.count(b"\n")
        rows = whole.split(b"\n") if 0 < target < line + n else []
        while 0 < target < line + n:
            found[target] = _shown(rows[target - line])
            target = next(chosen, 0)
        line += n
        if not target:
            return found
    if target == line:
        found[target] = _shown(rest)
    return found


def _shown(text: bytes) -> str:
    return text[:1024].decode("utf-8", "replace").rstrip("\r\n")
