"""rlx against the best peer on random shapes: how the ratios are spread, and the worst one."""

import numpy as np

from bench.cases import Attention, Case, Matmul, RmsNorm
from bench.cpu import Plan, say, start
from bench.machine import pick_cores
from bench.measure import measure_case
from bench.report import milliseconds, table
from bench.targets import compare

__all__ = ["KINDS", "draw", "run"]

KINDS = ("matmul", "few rows", "prefill", "decode", "norm")

_DIMS = (64, 80, 96, 128, 192, 256)


def draw(kind: str, random: np.random.Generator) -> Case:
    """A case of random sizes, odd ones included.

    Raises:
        ValueError: there is no such kind.
    """

    def size(low: int, high: int) -> int:
        """Spread evenly over orders of magnitude."""
        return round(float(np.exp(random.uniform(np.log(low), np.log(high)))))

    if kind in ("matmul", "few rows"):
        m = size(33, 1500) if kind == "matmul" else size(1, 32)
        k, n = size(200, 4000), size(200, 4000)
        return Matmul("sweep", f"{m} x {k} x {n}", m, k, n)
    if kind == "norm":
        length, width = size(1, 1000), size(100, 8000)
        return RmsNorm("sweep", f"{length} x {width}", length, width)
    if kind not in ("prefill", "decode"):
        raise ValueError(f"unknown kind '{kind}'; known: {', '.join(KINDS)}")
    kv_heads, group = int(random.choice([1, 2, 4, 8])), int(random.choice([1, 2, 3, 5, 8]))
    dim, batch = int(random.choice(_DIMS)), int(random.choice([1, 1, 2]))
    heads = kv_heads * group
    keys = size(50, 1500) if kind == "prefill" else size(100, 6000)
    queries = keys if kind == "prefill" else 1
    window = int(random.choice([0, 0, max(1, keys // 3)])) if kind == "prefill" else 0
    label = f"{batch} x {heads}/{kv_heads} heads, D {dim}, {queries} of {keys}, window {window}"
    return Attention("sweep", label, heads, kv_heads, dim, queries, keys, window, batch=batch)


def run(plan: Plan, kinds: list[str], seed: int, count: int) -> str:
    """Draws and measures ``count`` shapes of each kind; a table of quantiles per kind and dtype."""
    random = np.random.default_rng(seed)
    drawn = {kind: [draw(kind, random) for _ in range(count)] for kind in kinds}
    tools = start(plan, pick_cores(plan.threads))
    lines = []
    try:
        for kind, cases in drawn.items():
            for dtype in (d for d in cases[0].dtypes if d in plan.dtypes):
                lines.append(_line(plan, kind, dtype, cases, tools))
    finally:
        for tool in tools:
            tool.close()
    header = ["kind", "dtype", "worst", "quartile", "median", "best", "worst shape", "ours", "peer"]
    return table(header, lines, left=2)


def _line(plan: Plan, kind: str, dtype: str, cases: list[Case], tools: list) -> list[str]:
    found = []
    for case in cases:
        row = measure_case(case, dtype, tools, seconds=plan.seconds, rounds=plan.rounds)
        for own in (c for c in compare(row) if c.own.problem != "rope"):
            if own.own.failure:
                say(f"{kind} {case.label} {dtype}: {own.own.failure}")
            if own.ratio is not None and own.peer is not None:
                say(f"{kind} {case.label} {dtype}: {own.ratio:.2f} against {own.peer.name}")
                found.append((own.ratio, case, own))
    if not found:
        return [kind, dtype, *["-"] * 7]
    ratios = [ratio for ratio, _, _ in found]
    _, case, worst = min(found, key=lambda entry: entry[0])
    assert worst.peer is not None
    quantiles = [f"{value:.2f}" for value in np.quantile(ratios, [0, 0.25, 0.5, 1])]
    times = [milliseconds(worst.own.seconds), milliseconds(worst.peer.seconds)]
    return [kind, dtype, *quantiles, case.label, times[0], f"{times[1]} ({worst.peer.name})"]
