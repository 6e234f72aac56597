"""The headline table and plot, from the JSON of the measurements.

    python benchmarks/plot_headline.py --bench bench.json --pytorch pytorch.json --ablation ablation.json \\
        --plot .github/benchmarks.svg --readme benchmarks/README.md

Any of the inputs may be left out. The table replaces what stands between the headline marks of the README.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- headline: begin -->", "<!-- headline: end -->"
MAX_BYTES = 60_000
BLUE, GREY = "#1f6feb", "#8b949e"


def interval(found: dict[str, Any]) -> tuple[float, float] | None:
    """The 95 % interval of a ratio in any of the commands' spellings."""
    low, high = found.get("interval") or (found.get("low"), found.get("high"))
    return None if low is None or high is None else (low, high)


def said(found: dict[str, Any]) -> str:
    """A ratio as text."""
    bounds = interval(found)
    return f"{found['ratio']:.2f} x" + (f" [{bounds[0]:.2f}, {bounds[1]:.2f}]" if bounds else "")


def rows_of(
    bench: dict[str, Any] | None, pytorch: dict[str, Any] | None, ablation: dict[str, Any] | None
) -> list[tuple[str, str, str]]:
    """What, figure, command."""
    rows = []
    if bench:
        command = "`interleave-rt bench`"
        for key, found in bench["speedup"].items():
            one, _, two = key.partition("_vs_")
            rows.append((f"{one} over {two}".replace("_", "-"), said(found), command))
        equal = bench["lossless"]
        rows.append(("results equal between the arms", f"{equal['equal']} of {equal['requests']}", command))
    if pytorch:
        command = "`pytorch_loop.py`"
        rows.append(("native engine over the PyTorch loop", said(pytorch["whole"]), command))
        rows += [
            (f"- of that {pytorch['factors'][arm]}", said(found), command)
            for arm, found in pytorch["gain"].items()
        ]
        equal = pytorch["equal_to_pytorch"]
        rows.append(("results equal to PyTorch's", f"{equal['as the demo']} of {equal['requests']}", command))
    if ablation:
        command = "`ablation.py`" + (" `--runtime scripted`" if ablation["runtime"] == "scripted" else "")
        rows += [
            (
                f"time without {row['optimization']} ({row['what']}; {row['scenario']})",
                said(row["without_it"]),
                command,
            )
            for row in ablation["rows"]
            if "without_it" in row
        ]
    return rows


def markdown(rows: Sequence[tuple[str, str, str]], plot: str | None) -> str:
    """The block between the marks."""
    lines = [f"![Where the time goes]({plot})", ""] if plot else []
    lines += ["| what | figure | command |", "|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def write_readme(path: Path, block: str) -> None:
    """Puts the block between the marks.

    Raises:
        ValueError: The file has no such marks.
    """
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"[plot_headline] {path} has no {BEGIN} and {END}: put them where the table belongs")
    path.write_text(f"{head}{BEGIN}\n{block}\n{END}{tail}", encoding="utf-8")


def draw(path: Path, pytorch: dict[str, Any] | None, ablation: dict[str, Any] | None) -> None:
    """Left: time of a request in each arm; right: what each optimisation is worth.

    Raises:
        ValueError: The file came out larger than a repository should carry.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "interleave-rt", "font.size": 9}
    panels = [name for name, found in (("pytorch", pytorch), ("ablation", ablation)) if found]
    figure, axes = plt.subplots(1, len(panels), figsize=(5.4 * len(panels), 3.4), squeeze=False)
    for name, axis in zip(panels, axes[0], strict=True):
        if name == "pytorch" and pytorch:
            _arms(axis, pytorch["e2e_ms"])
        elif ablation:
            _optimizations(axis, [row for row in ablation["rows"] if "without_it" in row])
    figure.tight_layout()
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    figure.savefig(path, metadata=metadata)
    plt.close(figure)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"[plot_headline] {path} has {path.stat().st_size} bytes: {MAX_BYTES} at most")


def _arms(axis: Any, e2e: dict[str, dict[str, float]]) -> None:
    names, times = list(e2e), [found["p50"] for found in e2e.values()]
    colours = [GREY if name.startswith("PyTorch") else BLUE for name in names]
    bars = axis.barh(names, times, color=colours)
    axis.bar_label(bars, [f" {time:.0f}" for time in times])
    axis.set(xscale="log", xlabel="ms a request (p50, log scale)", xlim=(min(times) / 2, max(times) * 2))
    axis.tick_params(axis="x", which="both", bottom=False, labelbottom=False)  # the bars carry their times
    axis.xaxis.set_minor_formatter("")
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)


def _optimizations(axis: Any, rows: Sequence[dict[str, Any]]) -> None:
    for place, row in enumerate(rows):
        for key, colour, shift in (("without_it", BLUE, -0.12), ("alone", GREY, 0.12)):
            bounds, ratio = interval(row[key]), row[key]["ratio"]
            if bounds:
                axis.plot(bounds, [place + shift] * 2, color=colour, linewidth=1.5)
            axis.plot([ratio], [place + shift], "o", color=colour, markersize=4)
    axis.axvline(1, color="black", linewidth=0.6)
    axis.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axis.set_xlabel("times as long without it (blue), times as fast alone (grey)")
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)


def _label(row: dict[str, Any]) -> str:
    return row["optimization"] + (" (loop)" if row["scenario"].startswith("closed") else "")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("bench", "pytorch", "ablation"):
        parser.add_argument(f"--{name}", type=Path, help="JSON of that command's --output")
    parser.add_argument("--plot", type=Path, help="SVG or PNG")
    parser.add_argument("--readme", type=Path, help="file with the headline marks")
    arguments = parser.parse_args()
    paths = {name: getattr(arguments, name) for name in ("bench", "pytorch", "ablation")}
    found = {
        name: json.loads(path.read_text(encoding="utf-8")) if path else None for name, path in paths.items()
    }
    if not any(found.values()):
        parser.error("give at least one of --bench, --pytorch, --ablation")
    shown = None
    if arguments.plot and (found["pytorch"] or found["ablation"]):
        draw(arguments.plot, found["pytorch"], found["ablation"])
        shown = str(arguments.plot)
        if arguments.readme:  # a link that works from where the README stands
            shown = os.path.relpath(arguments.plot, arguments.readme.parent)
    block = markdown(rows_of(found["bench"], found["pytorch"], found["ablation"]), shown)
    if arguments.readme:
        write_readme(arguments.readme, block)
    print(block)
    return 0


if __name__ == "__main__":
    sys.exit(main())
