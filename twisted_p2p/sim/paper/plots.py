"""Tables as pictures. It needs matplotlib, which the extra `plots` installs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from twisted_p2p.sim.paper.overlay import RIVALS
from twisted_p2p.sim.paper.tables import Table


class NoMatplotlib(Exception):
    """There is nothing to draw with. Install it: pip install 'twisted_p2p[plots]'."""


@attrs.frozen
class Picture:
    """What of a table is drawn: these columns over the first one. `x`, `y`: what the axes say."""

    table: str
    lines: Sequence[str]
    x: str
    y: str


PICTURES = (
    Picture(
        "hyparview_reliability",
        (*RIVALS, "ours: first message", "ours: mean of 1,000"),
        "peers failed, %",
        "of the living reached by push, %",
    ),
    Picture("hyparview_healing", ("paper", "ours"), "peers failed, %", "cycles until healed"),
    Picture("plumtree_by_cycle", ("paper: RMR", "ours: RMR, one", "ours: RMR, many"), "broadcast", "RMR"),
    Picture("plumtree_by_cycle", ("ours: LDH, one", "ours: LDH, many"), "broadcast", "LDH, hops"),
)


def draw(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Draw what there is to draw, one SVG file for each picture; which.

    Raises:
        NoMatplotlib
        OSError: the folder can't be written to.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise NoMatplotlib from error
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "twisted_p2p"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = list[Path]()
    for picture in PICTURES:
        for table in tables:
            if table.name == picture.table:
                unit = picture.y.partition(",")[0].lower().replace(" ", "_")
                path = folder / f"{table.name}_{unit}.svg"
                _draw(table, picture, path)
                drawn.append(path)
    return drawn


def _draw(table: Table, picture: Picture, path: Path) -> None:
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for line in picture.lines:
        column = table.columns.index(line)
        points = [(row[0], row[column]) for row in table.rows if isinstance(row[column], (int, float))]
        is_ours = line.startswith("ours")
        width, alpha = (2.0, 1.0) if is_ours else (1.0, 0.6)
        axes.plot([x for x, _ in points], [y for _, y in points], "o-", label=line, linewidth=width, alpha=alpha)
    axes.set(title=table.title, xlabel=picture.x, ylabel=picture.y)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
