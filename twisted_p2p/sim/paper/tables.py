"""A table of figures: as text, and as it stands in JSON."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

Cell = float | int | str | None
"""A figure as it is printed; None: there is none."""


@attrs.frozen
class Table:
    """Figures of one experiment.

    Attributes:
        name: its key in JSON.
        title: what was measured, and how.
        source: the paper, and the section or figure that the columns called "paper" come from.
        columns: their names, the unit in them where there is one.
        rows: as many cells each as there are columns.
        notes: what a reader has to know, where ours differs above all.
    """

    name: str
    title: str
    source: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """The table in Markdown."""
        lines = [
            f"### {self.title}",
            "",
            f"Source: {self.source}",
            "",
            _line(self.columns),
            _line(["---"] * len(self.columns)),
            *(_line([_text(cell) for cell in row]) for row in self.rows),
        ]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return str(cell)
