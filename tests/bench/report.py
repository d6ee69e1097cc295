"""Tables and a picture of what was measured, and where they go in a document.

A row is a dict: `scenario`, `system`, `round`, and what the scenario has measured, by name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

Row = dict[str, Any]

COLUMNS = {
    "a_second": "deliveries/s",
    "cpu_us": "CPU µs",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "wire": "wire bytes",
    "rmr": "RMR",
    "a_bundle": "a bundle",
    "seconds": "s",
    "core_percent": "% of a core",
    "bytes_a_second": "bytes/s",
    "frames_a_second": "frames/s",
    "pss_mib": "MiB",
    "join_s": "join s",
    "lost": "lost",
    "wrong": "wrong",
}
"""Names of figures, and their titles. CPU, wire bytes and memory: a delivery, or a peer."""
COMPARED = ("a_second", "cpu_us", "p50_ms", "p99_ms", "wire", "seconds", "core_percent", "pss_mib", "join_s")
"""Those that are set in relation to the first system of a table."""


def middle(rows: Sequence[Row], scenario: str, system: str) -> dict[str, float]:
    """The medians of all rounds."""
    found = [row for row in rows if row["scenario"] == scenario and row["system"] == system]
    names = [name for name in COLUMNS if found and name in found[0]]
    return {name: median(row[name] for row in found) for name in names}


def spread(rows: Sequence[Row], scenario: str, system: str, name: str) -> float:
    """From the lowest to the highest of a figure, in relation to the median."""
    values = [row[name] for row in rows if row["scenario"] == scenario and row["system"] == system]
    return (max(values) - min(values)) / (median(values) or 1)


def in_order(rows: Sequence[Row], key: str) -> list[str]:
    """The values of a key, each once."""
    return [*dict.fromkeys(row[key] for row in rows)]


def figure(value: float) -> str:
    """With three digits that count."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def tables(rows: Sequence[Row], beside: str) -> str:
    """A table for each scenario; in brackets is how many times as much it is as of the system `beside`."""
    lines = []
    for scenario in in_order(rows, "scenario"):
        mine = [row for row in rows if row["scenario"] == scenario]
        systems = in_order(mine, "system")
        middles = {system: middle(mine, scenario, system) for system in systems}
        names = list(middles[systems[0]])
        base = middles.get(beside, {})
        lines += [
            "",
            f"**{scenario}**",
            "",
            "| system | " + " | ".join(COLUMNS[name] for name in names) + " | spread |",
        ]
        lines.append("|---" * (len(names) + 2) + "|")
        for system, found in middles.items():
            cells = [_cell(name, value, base if system != beside else {}) for name, value in found.items()]
            judged = next((name for name in ("p50_ms", "cpu_us", "core_percent") if name in found), names[0])
            cells.append(f"{spread(mine, scenario, system, judged) * 100:.0f} %")
            lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return "\n".join(lines[1:])


def _cell(name: str, value: float, base: dict[str, float]) -> str:
    text = figure(value)
    return f"{text} ({value / base[name]:.2f})" if name in COMPARED and base.get(name) else text


def comparison(rows: Sequence[Row], first: str, second: str) -> str:
    """Of two systems that ran in turn: the second in relation to the first, round by round."""
    lines = [f"| scenario | figure | {first} | {second} | ratio | lowest to highest |", "|---|---|---|---|---|---|"]
    for scenario in in_order(rows, "scenario"):
        pairs = _pairs(rows, scenario, first, second)
        for name in [name for name in COMPARED if pairs and name in pairs[0][0]]:
            ratios = sorted(b[name] / a[name] for a, b in pairs if a[name])
            if ratios:
                sides = (figure(median(pair[side][name] for pair in pairs)) for side in (0, 1))
                cells = (
                    scenario,
                    COLUMNS[name],
                    *sides,
                    f"{median(ratios):.3f}",
                    f"{ratios[0]:.3f} to {ratios[-1]:.3f}",
                )
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _pairs(rows: Sequence[Row], scenario: str, first: str, second: str) -> list[tuple[Row, Row]]:
    by = {(row["system"], row["round"]): row for row in rows if row["scenario"] == scenario}
    rounds = sorted({number for _, number in by})
    return [(by[first, n], by[second, n]) for n in rounds if (first, n) in by and (second, n) in by]


def write(place: str, text: str) -> None:
    """Put it into a document. `place`: FILE:NAME, a file with the marks <!-- NAME: begin --> and <!-- NAME: end -->."""
    name, _, mark = place.rpartition(":")
    path, begin, end = Path(name), f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->\n"
    before, _, rest = path.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{path} has no marks for {mark}")
    path.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}")


def plot(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Bars of what a delivery costs, by scenario and system; a line from the lowest to the highest round."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    costly = [row for row in rows if "cpu_us" in row]
    scenarios, systems = in_order(costly, "scenario"), in_order(costly, "system")
    figure_, axes = pyplot.subplots(1, len(scenarios), figsize=(3 * len(scenarios), 4), squeeze=False)
    for axis, scenario in zip(axes[0], scenarios, strict=True):
        for place, system in enumerate(systems):
            values = [r["cpu_us"] for r in costly if r["scenario"] == scenario and r["system"] == system]
            if values:
                level = median(values)
                axis.bar(place, level, yerr=[[level - min(values)], [max(values) - level]], capsize=3)
        axis.set_title(scenario)
        axis.set_xticks(range(len(systems)), systems, rotation=60, ha="right")
    axes[0][0].set_ylabel("µs of CPU a delivery")
    figure_.tight_layout()
    figure_.savefig(path)
    pyplot.close(figure_)
