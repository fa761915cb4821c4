"""What a run found, as Markdown: the targets with what was measured, then all medians."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.journal import Key
from bench.verdict import TIMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.journal import Journal
    from bench.verdict import Verdict

_REFERENCES = ("floor", "nginx", "boto3", "docker-registry")


def report(
    journal: Journal, machine: Mapping[str, object], found: Sequence[Verdict]
) -> Iterator[str]:
    """Yield the lines of the report."""
    yield ", ".join(f"{name} {value}" for name, value in machine.items())
    yield ""
    yield from _table(
        ("target", "measured", "wanted", ""),
        [
            (
                verdict.text,
                figure(verdict.measured, verdict.unit),
                f"{'≤' if verdict.at_most else '≥'} {figure(verdict.limit, verdict.unit)}",
                "reached" if verdict.reached else "**not reached**",
            )
            for verdict in found
        ],
    )
    for part, metric in dict.fromkeys((key.part, key.metric) for key in journal.keys):
        yield ""
        yield f"### {part}: {metric}"
        yield ""
        yield from _medians(journal, part, metric)


def figure(value: float, unit: str = "") -> str:
    """Return a number as a person wants to read it: three digits that say something."""
    magnitude = abs(value)
    if unit == TIMES:
        text = f"{value:.2f}"
    elif magnitude >= 100:
        text = f"{value:,.0f}"
    elif magnitude >= 10:
        text = f"{value:.1f}"
    else:
        text = f"{value:.2f}"
    return f"{text} {unit}".strip()


def _medians(journal: Journal, part: str, metric: str) -> Iterator[str]:
    keys = [key for key in journal.keys if (key.part, key.metric) == (part, metric)]
    cases = list(dict.fromkeys(key.case for key in keys))
    subjects = list(dict.fromkeys(key.subject for key in keys))
    references = [name for name in _REFERENCES if name in subjects and "blobd" in subjects]
    rows = []
    for case in cases:
        medians = {
            subject: journal.median(Key(part, case, subject, metric)) for subject in subjects
        }
        row = [case]
        row += ["" if value is None else figure(value) for value in medians.values()]
        row += [_of(medians, reference) for reference in references]
        row.append(str(max(journal.count(Key(part, case, name, metric)) for name in subjects)))
        rows.append(row)
    yield from _table(("", *subjects, *(f"blobd : {name}" for name in references), "n"), rows)


def _of(medians: Mapping[str, float | None], reference: str) -> str:
    """Return blobd's ratios to a reference: one worker's, and two workers' where measured."""
    base = medians[reference]
    if not base:
        return ""
    values = [medians.get(name) for name in ("blobd", "blobd, 2 workers")]
    return " / ".join(f"{value / base:.2f}" for value in values if value is not None)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * max(width, 3) for width in widths])
    for line in lines:
        cells = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        yield "| " + " | ".join(cells) + " |"
