"""rlx and other tools in turns on the same inputs."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cases import Case, select
from bench.cases.base import BYTES
from bench.client import Client, PeerError
from bench.machine import describe, pick_cores
from bench.measure import OURS, Row, measure_case
from bench.peers import HELD, PEERS
from bench.peers.ours import module_text
from bench.report import Run, around_section, summary_table, write, write_section
from bench.roofline import measure_roofline
from bench.startup import measure_startup

__all__ = ["RESULTS", "Plan", "run"]

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Plan:
    """What to measure, and how.

    Attributes:
        cases: the rows.
        dtypes: which of the dtypes that a row has.
        peers: tools besides rlx.
        threads: how many threads.
        seconds: how long a turn takes at least.
        rounds: how many turns each tool has.
        python: the interpreter that has the other tools; this one by default.
        output: the folder for results; None to write none.
        readme: a file with a section for results, if it shall have them.
        isa: an instruction set that all are held to, one of :data:`bench.peers.HELD`; those that
            cannot be are left out. Empty for what the machine has.

    Raises:
        ValueError: a name is not known, or there is nothing to do.
    """

    cases: Sequence[Case]
    dtypes: Sequence[str] = ("f32", "bf16", "int8")
    peers: Sequence[str] = tuple(name for name in PEERS if name != OURS)
    threads: int = 1
    seconds: float = 0.1
    rounds: int = 11
    python: str = sys.executable
    output: Path | None = RESULTS
    readme: Path | None = None
    isa: str = ""

    def __post_init__(self) -> None:
        for what, given, known in (
            ("dtypes", self.dtypes, BYTES),
            ("peers", self.peers, [name for name in PEERS if name != OURS]),
            ("instruction set", [self.isa] if self.isa else [], HELD),
        ):
            if unknown := set(given) - set(known):
                names = ", ".join(sorted(unknown))
                raise ValueError(f"unknown {what}: {names}; known: {', '.join(known)}")
        if self.rounds < 1:
            raise ValueError(f"expected at least one round, but got {self.rounds}")


def run(plan: Plan) -> list[Row]:
    """Measures, tells on standard error how it goes, and writes the results.

    Raises:
        PeerError: rlx itself cannot be started.
        ValueError: there are not as many cores, or the file has no section for results.
        OSError: results cannot be written.
    """
    cores = pick_cores(plan.threads)
    # Before hours of work, not after.
    if plan.output is not None:
        plan.output.mkdir(parents=True, exist_ok=True)
    if plan.readme is not None:
        around_section(plan.readme)
    machine = describe(cores, plan.isa)
    say(f"{machine.processor}, {plan.threads} thread(s) on cores {cores}")
    tools = start(plan, cores)
    rows: list[Row] = []
    try:
        for tool in tools:
            machine.versions.update(tool.versions)
        say(", ".join(f"{name} {version}" for name, version in machine.versions.items()))
        roofline = measure_roofline(plan.threads, plan.isa)
        for case, dtype in pairs(plan):
            row = measure_case(case, dtype, tools, seconds=plan.seconds, rounds=plan.rounds)
            rows.append(row)
            lines = summary_table([row], roofline, plan.threads).splitlines()
            say("\n".join(lines if len(rows) == 1 else lines[2:]))
        # Machines that are shared are not equally fast all the time.
        roofline = roofline.highest(measure_roofline(plan.threads, plan.isa))
    finally:
        for tool in tools:
            tool.close()
    if plan.output is not None and rows:
        (block,) = select("B1")
        startup = measure_startup(module_text(block, "f32"), cores)
        found = Run(rows, machine, roofline, startup)
        for path in write(plan.output, found):
            say(f"wrote {path}")
        if plan.readme is not None:
            write_section(plan.readme, found)
    return rows


def pairs(plan: Plan) -> Iterable[tuple[Case, str]]:
    """Cases and dtypes, in order."""
    for case in plan.cases:
        for dtype in case.dtypes:
            if dtype in plan.dtypes:
                yield case, dtype


def start(plan: Plan, cores: Sequence[int]) -> list[Client]:
    """The processes of rlx and of the tools that are installed."""
    held = HELD[plan.isa] if plan.isa else {}
    found = [Client(OURS, cores, environment=held.get(OURS))]
    for name in plan.peers:
        if held and name not in held:
            say(f"{name}: cannot be held to {plan.isa}")
            continue
        try:
            found.append(Client(name, cores, plan.python, held.get(name)))
        except PeerError as error:
            say(f"{name}: {error}")
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
