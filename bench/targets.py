"""How far ahead of the best peer a row has to be."""

from dataclasses import dataclass

from bench.cases import Attention, Case, Decode, Prefill
from bench.measure import Row, Timing, ratio

__all__ = ["Comparison", "compare", "goal"]

# The least and the desired ratio per dtype, on one thread.
_GOALS = {
    "A1": {"f32": (1.3, 1.6), "bf16": (1.6, 2.2)},
    "A2": {"f32": (3, 5), "bf16": (3, 5)},
    "A3": {"f32": (1.25, 1.6), "bf16": (1.5, 2)},
    "A4": {"f32": (1.25, 1.6), "bf16": (1.5, 2)},
    "A5": {"f32": (2, 2), "bf16": (2, 2)},
    "B1": {"f32": (1.15, 1.3), "bf16": (1.3, 1.6)},
    "B2": {"f32": (1.2, 1.4), "bf16": (1.4, 1.8)},
    "M1024": {"f32": (1.0, 1.1), "bf16": (1.05, 1.3)},
    "M2048": {"f32": (1.0, 1.1), "bf16": (1.05, 1.3)},
}
_PREFILL = {"f32": (1.1, 1.3), "bf16": (1.3, 1.6)}
_DECODE = {"bf16": (1.1, 1.1), "int8": (1.0, 1.0)}
_SEVERAL_THREADS = 0.85  # of what is demanded on one


def goal(case: Case, dtype: str, threads: int = 1) -> tuple[float, float] | None:
    """The least and the desired ratio; None where nothing is demanded."""
    table = _GOALS.get(case.name, {})
    if isinstance(case, Prefill):
        table = _PREFILL
    elif isinstance(case, Decode):
        table = _DECODE
    wanted = table.get(dtype)
    if wanted is None or threads == 1:
        return wanted
    least, desired = wanted
    return least * _SEVERAL_THREADS, desired * _SEVERAL_THREADS


@dataclass(frozen=True)
class Comparison:
    """Our time for a case against the best of the others.

    Attributes:
        own: our timing.
        peer: the fastest other one, None if there is none.
        ratio: how many times as long the peer takes; None without one.
        counts: whether this is what the goal speaks of.
    """

    own: Timing
    peer: Timing | None
    ratio: float | None
    counts: bool


def compare(row: Row) -> list[Comparison]:
    """Our timings of a row, each against the best peer.

    With rope fused in, ours is compared with all peers, those without rope included; ours without
    rope is compared with those that leave it out as well.
    """
    with_rope = isinstance(row.case, Attention) and row.case.name in ("A1", "A3", "A4")
    found = []
    for own in row.ours():
        peer = row.best_peer(None if own.problem == "rope" else (own.problem,))
        both = own.rounds and peer is not None
        counts = not isinstance(row.case, Attention) or (own.problem == "rope") == with_rope
        found.append(
            Comparison(own, peer, ratio(own, peer) if both and peer is not None else None, counts)
        )
    return found
