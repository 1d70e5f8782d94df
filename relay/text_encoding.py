"""Which encoding a text file is in, or where it is damaged: the whole file is read once, strictly, before any row."""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from relay.csv_rows import DELIMITERS, has_line_break
from relay.file_problems import MAX_LINE, FileProblem, opened

CHUNK = 1 << 19

# What a person may say that a file is in, and what people call it. Anything else than the first two is never guessed.
ENCODINGS = {
    "utf-8": "UTF-8",
    "cp1252": "Windows-1252",
    "iso-8859-1": "ISO 8859-1",
    "cp850": "DOS 850",
    "mac-roman": "Mac Roman",
    "utf-16-le": "UTF-16 LE",
    "utf-16-be": "UTF-16 BE",
}
_MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}

_BINARY_STARTS = (
    b"PK\x03\x04", b"PK\x05\x06", b"%PDF", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"\xd0\xcf\x11\xe0", b"\x1f\x8b",
    b"BZh", b"7z\xbc\xaf", b"\xfd7zXZ", b"Rar!", b"\x7fELF", b"SQLite format 3", b"PAR1", b"RIFF", b"{\\rtf",
    b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff",  # UTF-32
)  # fmt: skip
_HTML_STARTS = (b"<html", b"<!doctype", b"<table", b"<?xml")  # many systems call an HTML table .xls
_CONTROLS = bytes(set(range(32)) - set(b"\0\t\n\v\f\r\x1a"))


class TextEncoding(NamedTuple):
    encoding: str  # of the bytes after `bom`
    bom: bytes
    has_nul: bool


def find_encoding(path: Path, wanted: str | None = None) -> TextEncoding:
    """Raises FileProblem for a file that is not text, or not all of it in one encoding we know, or in the `wanted`."""
    if wanted is not None and wanted not in ENCODINGS:
        raise FileProblem("wrong_encoding", encoding=wanted[:20])
    with opened(path) as handle:
        sample = handle.read(CHUNK)
    if not sample:
        raise FileProblem("empty")
    if wanted is not None:
        return _as_wanted(path, sample, wanted)
    encoding, bom = _announced_encoding(sample)
    if encoding is not None:
        return TextEncoding(encoding, bom, _scan(path, encoding, len(bom)))
    if _looks_binary(sample):
        raise FileProblem("binary")
    encoding, has_nul = _guessed_encoding(path)
    return TextEncoding(encoding, b"", has_nul)


def _as_wanted(path: Path, sample: bytes, wanted: str) -> TextEncoding:
    if not wanted.startswith("utf-16") and _looks_binary(sample):
        raise FileProblem("binary")
    mark = _MARKS.get(wanted, b"")
    bom = mark if mark and sample.startswith(mark) else b""
    try:
        return TextEncoding(wanted, bom, _scan(path, wanted, len(bom)))
    except FileProblem as problem:
        if problem.code not in {"damaged_text", "unknown_encoding"}:
            raise
        told = {name: value for name, value in problem.params.items() if name != "encoding"}
        raise FileProblem("not_in_encoding", **told, encoding=ENCODINGS[wanted]) from None


def _announced_encoding(sample: bytes) -> tuple[str | None, bytes]:
    """The encoding that a byte order mark names, or that the NULs of UTF-16 give away."""
    if sample.startswith(codecs.BOM_UTF8):
        return "utf-8", codecs.BOM_UTF8
    if sample[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return None, b""
    for encoding, bom in (("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE)):
        if sample.startswith(bom):
            return encoding, bom
    even, odd = sample[:4096:2], sample[1:4096:2]
    for encoding, text, zeros in (("utf-16-le", even, odd), ("utf-16-be", odd, even)):
        if len(zeros) > 1 and zeros.count(0) > 0.9 * len(zeros) and not text.count(0):
            return encoding, b""
    return None, b""


def _looks_binary(sample: bytes) -> bool:
    if sample.startswith(_BINARY_STARTS) or sample[:80].lstrip().lower().startswith(_HTML_STARTS):
        return True
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    return controls > max(2, len(sample) // 100) or sample.count(0) > max(32, len(sample) // 10)


def _guessed_encoding(path: Path) -> tuple[str, bool]:
    """UTF-8 when all of it is; else Windows-1252, but only if nothing in it is UTF-8.

    Reading a damaged UTF-8 file as Windows-1252 would write «JosÃ©» to everyone in it.
    """
    try:
        return "utf-8", _scan(path, "utf-8", 0)
    except FileProblem as problem:
        if problem.code != "damaged_text" or _has_utf8(path):
            raise
    return "cp1252", _scan(path, "cp1252", 0)


def _scan(path: Path, encoding: str, start: int) -> bool:
    """Read the whole file once, strictly, in bounded memory. Returns whether it has NUL characters."""
    decoder = codecs.getincrementaldecoder(encoding)()
    has_nul, line_start, position = False, start, start
    with opened(path) as handle:
        handle.seek(start)
        while True:
            chunk = handle.read(CHUNK)
            kept = len(decoder.getstate()[0])
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise _damage(path, encoding, position - kept + error.start) from None
            if not chunk:
                return has_nul
            position += len(chunk)
            has_nul = has_nul or "\0" in text
            if has_line_break(text):
                line_start = position  # near enough: the last line began in this chunk
            elif position - line_start > MAX_LINE:
                raise FileProblem("long_line", row=_row_at(path, encoding, line_start))


def _damage(path: Path, encoding: str, position: int) -> FileProblem:
    place: dict[str, object] = {"row": _row_at(path, encoding, position), "byte": position + 1}
    if encoding == "cp1252":
        return FileProblem("unknown_encoding", **place)
    return FileProblem("damaged_text", encoding=encoding.upper(), **place)


# Every byte as its role in UTF-8: how many bytes a lead byte announces, C for a continuation, a dot for the rest.
_ROLES = b"." * 0x80 + b"C" * 0x40 + b".." + b"2" * 0x1E + b"3" * 0x10 + b"4" * 0x05 + b"." * 0x0B


def _has_utf8(path: Path) -> bool:
    """Whether any complete multi-byte character stands in the file (or it ends within the most usual one)."""
    tail, foreign, last = b"", 0, b""
    with opened(path) as handle:
        while chunk := handle.read(CHUNK):
            roles = chunk.translate(_ROLES)
            foreign += len(roles) - roles.count(b".")
            roles = tail + roles
            if b"2C" in roles or b"3CC" in roles or b"4CCC" in roles:
                return True
            tail, last = roles[-3:], chunk[-1:]
    # Cut off within its only accent: Ã and Â, its first byte in Windows-1252, hardly end a file in Spanish.
    return foreign == 1 and last in (b"\xc2", b"\xc3")


def _row_at(path: Path, encoding: str, position: int) -> int:
    """The row that holds the byte at `position`. Slow, and only for a sentence."""
    # As Latin-1 every byte is a character, and delimiters, quotes and line ends are where they are in UTF-8.
    codec = encoding if encoding.startswith("utf-16") else "latin-1"
    row = 0
    with io.TextIOWrapper(opened(path), encoding=codec, errors="replace", newline="") as text:
        first_line = text.readline(MAX_LINE)
        lines = _lines_until(position, codec, chain([first_line], iter(lambda: text.readline(MAX_LINE), "")))
        with suppress(csv.Error):  # a cell that is too large: it is in the row being looked for
            for _cells in csv.reader(lines, delimiter=max(DELIMITERS, key=first_line.count)):
                row += 1
            return row
    return row + 1


def _lines_until(position: int, codec: str, lines: Iterable[str]) -> Iterator[str]:
    seen = 0
    for line in lines:
        yield line
        seen += len(line.encode(codec, "surrogatepass"))
        if seen > position:
            return
