"""rlx against the best peer on random shapes: how the ratios are spread, and the worst ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.cases import Attention, Case, Matmul, RmsNorm
from bench.cpu import Plan, say, start
from bench.machine import pick_cores
from bench.measure import Timing, measure_case
from bench.report import milliseconds, table
from bench.targets import compare

__all__ = ["KINDS", "Found", "draw", "report", "run"]

KINDS = ("matmul", "few rows", "prefill", "chunk", "decode", "norm")

_DIMS = (64, 80, 96, 128, 192, 256)
_WORST = 10


@dataclass(frozen=True)
class Found:
    """What a shape has shown.

    Attributes:
        kind: one of :data:`KINDS`.
        dtype: of the inputs.
        label: the sizes, for people.
        ratio: how many times as long the best peer takes.
        own: our timing.
        peer: that of the best peer.
    """

    kind: str
    dtype: str
    label: str
    ratio: float
    own: Timing
    peer: Timing


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
    if kind not in ("prefill", "chunk", "decode"):
        raise ValueError(f"unknown kind '{kind}'; known: {', '.join(KINDS)}")
    kv_heads, group = int(random.choice([1, 2, 4, 8])), int(random.choice([1, 2, 3, 5, 8]))
    dim, batch = int(random.choice(_DIMS)), int(random.choice([1, 1, 2]))
    heads = kv_heads * group
    keys = size(50, 1500) if kind == "prefill" else size(100, 6000)
    queries = {"prefill": keys, "chunk": size(2, 99), "decode": 1}[kind]
    window = int(random.choice([0, 0, max(1, keys // 3)])) if kind != "decode" else 0
    label = f"{batch} x {heads}/{kv_heads} heads, D {dim}, {queries} of {keys}, window {window}"
    return Attention("sweep", label, heads, kv_heads, dim, queries, keys, window, batch=batch)


def run(plan: Plan, kinds: Sequence[str], seed: int, count: int) -> str:
    """Draws and measures ``count`` shapes of each kind, and reports.

    Raises:
        PeerError: rlx itself cannot be started.
        ValueError: there is no such kind, or there are not as many cores.
    """
    random = np.random.default_rng(seed)
    drawn = [(kind, draw(kind, random)) for kind in kinds for _ in range(count)]
    tools = start(plan, pick_cores(plan.threads))
    found: list[Found] = []
    try:
        for kind, case in drawn:
            for dtype in (d for d in case.dtypes if d in plan.dtypes):
                row = measure_case(case, dtype, tools, seconds=plan.seconds, rounds=plan.rounds)
                for own in (c for c in compare(row) if c.own.problem != "rope"):
                    what = f"{kind} {case.label} {dtype}"
                    if own.own.failure:
                        say(f"{what}: {own.own.failure}")
                    if own.ratio is not None and own.peer is not None:
                        say(f"{what}: {own.ratio:.2f} against {own.peer.name}")
                        found.append(Found(kind, dtype, case.label, own.ratio, own.own, own.peer))
    finally:
        for tool in tools:
            tool.close()
    return report(found)


def report(found: Sequence[Found]) -> str:
    """A table of quantiles per kind and dtype, and one of the worst shapes."""
    groups: dict[tuple[str, str], list[float]] = {}
    for one in found:
        groups.setdefault((one.kind, one.dtype), []).append(one.ratio)
    header = ["kind", "dtype", "shapes", "worst", "quartile", "median", "best"]
    lines = [[*group, str(len(r)), *_quantiles(r)] for group, r in groups.items()]
    worst = sorted(found, key=lambda one: one.ratio)[:_WORST]
    columns = ["ratio", "kind", "dtype", "shape", "ours", "best peer", "its time"]
    return f"{table(header, lines, left=2)}\n\n{table(columns, map(_line, worst), left=0)}"


def _quantiles(ratios: Sequence[float]) -> Iterable[str]:
    return (f"{value:.2f}" for value in np.quantile(ratios, [0, 0.25, 0.5, 1]))


def _line(one: Found) -> list[str]:
    ours, peer = milliseconds(one.own.seconds), milliseconds(one.peer.seconds)
    return [f"{one.ratio:.2f}", one.kind, one.dtype, one.label, ours, one.peer.name, peer]
