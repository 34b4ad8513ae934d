"""Bars of the ratios, if matplotlib is there."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Row
from bench.targets import compare

__all__ = ["plot"]


def plot(base: Path, rows: Sequence[Row]) -> list[Path]:
    """Writes ``base`` with the suffix ``.svg``; returns what it wrote."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    bars = [
        (
            f"{row.case.name}{', rope' if found.own.problem == 'rope' else ''} {row.dtype}",
            found.ratio,
        )
        for row in rows
        for found in compare(row)
        if found.ratio is not None
    ]
    if not bars:
        return []
    figure, axes = pyplot.subplots(figsize=(7, 0.25 * len(bars) + 1))
    names, ratios = zip(*reversed(bars), strict=True)
    axes.barh(names, ratios, color=["tab:green" if r >= 1 else "tab:red" for r in ratios])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time of the best peer / time of rlx")
    figure.tight_layout()
    path = base.with_suffix(".svg")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return [path]
