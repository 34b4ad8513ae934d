"""Times of several tools on one case, taken in turns."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from bench.cases import Case
from bench.client import PeerError

__all__ = ["OURS", "TOLERANCE", "Row", "Timing", "measure_case", "relative_error"]

OURS = "rlx"

# Largest error over the root mean square. Tools round scores to bf16 on the way, or quantize.
TOLERANCE = {"f32": 1e-4, "bf16": 1e-1, "int8": 5e-1}
MODEL_TOLERANCE = {"f32": 1e-3, "bf16": 2e-1, "int8": 5e-1}


_LONG = 0.3  # seconds; longer runs need no warming up
_FEW = 3  # turns that everybody worth it has


class Tool(Protocol):
    """A process that computes: see :class:`bench.client.Client`."""

    name: str

    def ask(self, method: str, *arguments: Any) -> Any: ...


@dataclass
class Timing:
    """One way to compute a case.

    Attributes:
        tool: whose process ran it.
        name: of the variant.
        problem: which of the case's problems it solves.
        rounds: the median time of each turn, in seconds.
        first: seconds of the run that was checked.
        error: the largest error over the root mean square of the exact result.
        ready: seconds from nothing to the result that was checked.
        failure: why there is no time.
    """

    tool: str
    name: str
    problem: str = ""
    rounds: list[float] = field(default_factory=list)
    first: float = 0.0
    error: float = 0.0
    ready: float = 0.0
    failure: str = ""

    @property
    def ours(self) -> bool:
        return self.tool == OURS

    @property
    def seconds(self) -> float:
        return statistics.median(self.rounds) if self.rounds else float("inf")


@dataclass
class Row:
    """A case in one dtype, by every tool."""

    case: Case
    dtype: str
    timings: list[Timing]

    def best_peer(self, problems: Sequence[str] | None = None) -> Timing | None:
        """The fastest of the others; of those that solve one of ``problems``, if given.

        Those that were left alone were slower than one that had all turns; on a machine whose speed
        swings their times do not compare.
        """
        peers = [
            t
            for t in self.timings
            if not t.ours and t.rounds and (problems is None or t.problem in problems)
        ]
        turns = max((len(t.rounds) for t in peers), default=0)
        return min(
            (t for t in peers if len(t.rounds) == turns), key=lambda t: t.seconds, default=None
        )

    def ours(self) -> list[Timing]:
        return [timing for timing in self.timings if timing.ours]


def ratio(own: Timing, peer: Timing) -> float:
    """How many times as long the peer takes: the median over turns that were next to each other."""
    both = zip(peer.rounds, own.rounds, strict=False)
    return statistics.median(theirs / mine for theirs, mine in both)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest error over the root mean square."""
    if actual.shape != expected.shape:
        return float("inf")
    error = np.abs(actual - expected).max() / np.sqrt(np.mean(expected**2))
    return float(error) if np.isfinite(error) else float("inf")


def measure_case(
    case: Case,
    dtype: str,
    tools: Sequence[Tool],
    *,
    seconds: float = 0.1,
    rounds: int = 11,
    slow: float = 2.0,
    close: float = 1.3,
    longest: float = 60.0,
    patience: float = 60.0,
    hopeless: float = 8.0,
) -> Row:
    """Prepares and checks every variant of every tool, then runs them in turns.

    Variants of others that take more than ``slow`` times the best one's time in the first turn are
    left alone then, those that take more than ``close`` times its time after the third: they could
    not become the best, and the time is better spent on turns of those that might.

    Args:
        case, dtype: what to compute.
        tools: who computes it.
        seconds: how long a turn is, at least.
        rounds: how many turns each has.
        slow, close: see above.
        longest: after that many seconds there are no more than three turns.
        patience: a tool that needs more seconds to get ready gets no second chance with another
            variant.
        hopeless: nor does one that takes this many times the time of the best one before it.
    """
    rows = case.some_rows()
    exact = dict(case.reference(rows))
    row = Row(case, dtype, [])
    running: list[tuple[Tool, Timing]] = []
    for tool in tools:
        try:
            names = tool.ask("variants", case, dtype)
        except PeerError as error:
            row.timings.append(Timing(tool.name, tool.name, failure=str(error)))
            continue
        for name in names:
            timing = Timing(tool.name, name)
            row.timings.append(timing)
            _prepare(tool, timing, rows, exact, dtype)
            if not timing.failure:
                running.append((tool, timing))
            best = row.best_peer()
            behind = best is not None and timing.first > hopeless * best.seconds
            if timing.tool != OURS and (timing.ready > patience or behind):
                break
    # The run that was checked is good enough to tell who is far behind.
    running = _worth_it(running, 2 * slow)
    for _, timing in running:
        timing.rounds.clear()
    start = time.perf_counter()
    for number in range(rounds):
        if number >= _FEW and time.perf_counter() - start > longest:
            break
        for tool, timing in running:
            quick = timing.first < _LONG
            try:
                times = tool.ask("turn", timing.name, seconds, 2 if quick else 1, quick)
            except PeerError as error:
                timing.failure = str(error)
                timing.rounds.clear()
                continue
            timing.rounds.append(statistics.median(times))
        running = [(tool, timing) for tool, timing in running if not timing.failure]
        if number in (0, _FEW - 1):
            running = _worth_it(running, slow if number == 0 else close)
    return row


def _prepare(
    tool: Tool, timing: Timing, rows: np.ndarray, exact: dict[str, np.ndarray], dtype: str
) -> None:
    try:
        found = tool.ask("prepare", timing.name, rows)
    except PeerError as error:
        timing.failure = str(error)
        return
    timing.ready, timing.first, timing.problem, result = found
    timing.problem = timing.problem or next(iter(exact))
    timing.error = relative_error(result, exact[timing.problem])
    tolerance = (MODEL_TOLERANCE if timing.problem == "model" else TOLERANCE)[dtype]
    if timing.error < tolerance:
        timing.rounds.append(timing.first)
    else:
        timing.failure = f"wrong by {timing.error:.1e} of the root mean square"


def _worth_it(running: list[tuple[Tool, Timing]], slow: float) -> list[tuple[Tool, Timing]]:
    """Ours, and those of others that take at most ``slow`` times the best one's time."""
    peers = [timing.seconds for _, timing in running if not timing.ours]
    limit = slow * min(peers, default=0.0)
    return [(tool, timing) for tool, timing in running if timing.ours or timing.seconds <= limit]
