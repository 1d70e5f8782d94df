"""What differs between two texts, line by line, for a page to show. Pure; bounded, whatever the texts are."""

import difflib
from dataclasses import dataclass

# difflib takes up to the product of both; what is alike at the beginning and at the end is not counted.
MOST_LINES = 1500
CONTEXT = 3
LONGEST_LINE = 400
MOST_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Line:
    kind: str  # "same", "removed", "added", "skipped" (lines that are alike and not shown)
    text: str
    before: int | None = None  # its number in the former text
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    lines: tuple[Line, ...]
    removed: int
    added: int
    cut: bool = False
    """There is more than is shown."""

    def __bool__(self) -> bool:
        return bool(self.removed or self.added)


def difference(before: str, after: str) -> Difference:
    old, new = before.splitlines(), after.splitlines()
    head = _alike(old, new)
    tail = _alike(old[head:][::-1], new[head:][::-1])
    operations = _operations(old[head : len(old) - tail], new[head : len(new) - tail])
    lines: list[Line] = [*_same(old, max(0, head - CONTEXT), head, 0)]
    if head > CONTEXT:
        lines.insert(0, _skipped(head - CONTEXT))
    removed = added = 0
    for tag, i1, i2, j1, j2 in operations:
        i1, i2, j1, j2 = i1 + head, i2 + head, j1 + head, j2 + head
        if tag == "equal":
            lines += _shortened(old, i1, i2, j1 - i1)
            continue
        lines += [Line("removed", _cut(old[i]), before=i + 1) for i in range(i1, i2)]
        lines += [Line("added", _cut(new[j]), after=j + 1) for j in range(j1, j2)]
        removed, added = removed + i2 - i1, added + j2 - j1
    end = len(old) - tail
    lines += _same(old, end, min(len(old), end + CONTEXT), len(new) - len(old))
    if tail > CONTEXT:
        lines.append(_skipped(tail - CONTEXT))
    return Difference(tuple(lines[:MOST_SHOWN]), removed, added, cut=len(lines) > MOST_SHOWN)


def _operations(old: list[str], new: list[str]) -> list[tuple[str, int, int, int, int]]:
    if max(len(old), len(new)) > MOST_LINES:  # told as one exchange instead of being compared for minutes
        return [("replace", 0, len(old), 0, len(new))]
    return list(difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes())


def _alike(old: list[str], new: list[str]) -> int:
    count = 0
    for one, other in zip(old, new, strict=False):
        if one != other:
            break
        count += 1
    return count


def _shortened(old: list[str], start: int, end: int, shift: int) -> list[Line]:
    if end - start <= 2 * CONTEXT + 1:
        return _same(old, start, end, shift)
    return [
        *_same(old, start, start + CONTEXT, shift),
        _skipped(end - start - 2 * CONTEXT),
        *_same(old, end - CONTEXT, end, shift),
    ]


def _same(old: list[str], start: int, end: int, shift: int) -> list[Line]:
    return [Line("same", _cut(old[i]), before=i + 1, after=i + 1 + shift) for i in range(start, end)]


def _skipped(count: int) -> Line:
    return Line("skipped", str(count))


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "…"
