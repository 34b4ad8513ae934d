"""Bars of the ratios and of the shares of what the machine can do, if matplotlib is there."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.measure import Row
from bench.roofline import Roofline
from bench.targets import Comparison, compare

__all__ = ["plot"]


def plot(base: Path, rows: Sequence[Row], roofline: Roofline) -> list[Path]:
    """Writes ``base`` with the suffix ``.svg``; returns what it wrote."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pairs = [(row, found) for row in rows for found in compare(row) if found.own.rounds][::-1]
    if not pairs:
        return []
    figure, axes = pyplot.subplots(1, 3, sharey=True, figsize=(11, 0.25 * len(pairs) + 1.2))
    axes[0].set_yticks(range(len(pairs)), [_name(*pair) for pair in pairs])
    axes[0].set_ylim(-1, len(pairs))
    ratios = [found.ratio for _, found in pairs]
    axes[0].set_xscale("log", base=2)
    axes[0].xaxis.set_major_formatter("{x:g}")
    _bars(axes[0], ratios, ["tab:green" if (r or 0) >= 1 else "tab:red" for r in ratios], start=1)
    axes[0].axvline(1, color="black", linewidth=0.8)
    axes[0].set_xlabel("time of the best peer / ours")
    times = [found.own.seconds for _, found in pairs]
    flops = [row.case.flops() / t for (row, _), t in zip(pairs, times, strict=True)]
    reads = [row.case.bytes(row.dtype) / t for (row, _), t in zip(pairs, times, strict=True)]
    peaks = [roofline.peak(row.dtype) for row, _ in pairs]
    shares = [100 * f / p if f and p else None for f, p in zip(flops, peaks, strict=True)]
    _bars(axes[1], shares, "tab:blue", [f"{f / 1e9:.0f} GF/s" if f else "" for f in flops])
    axes[1].set_xlabel("% of the peak of multiply-adds")
    shares = [100 * rate / roofline.stream for rate in reads]
    _bars(axes[2], shares, "tab:orange", [f"{1e3 * t:.3g} ms" for t in times])
    axes[2].set_xlabel("% of memory bandwidth; our time")
    figure.tight_layout()
    path = base.with_suffix(".svg")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return [path]


def _name(row: Row, found: Comparison) -> str:
    return f"{row.case.name}{', rope' if found.own.problem == 'rope' else ''} {row.dtype}"


def _bars(
    axes: Any,
    values: Sequence[float | None],
    color: Any,
    texts: Sequence[str] | None = None,
    start: float = 0.0,
) -> None:
    """Bars from ``start``, none where there is no value, with texts at their ends."""
    widths = [start if value is None else value for value in values]
    bars = axes.barh(range(len(widths)), [w - start for w in widths], left=start, color=color)
    if texts is None:
        texts = ["" if value is None else f"{value:.2f}" for value in values]
    axes.bar_label(bars, texts, padding=3, fontsize=7)
    axes.margins(x=0.25)
    axes.spines[["top", "right"]].set_visible(False)
