"""Tables for people and JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.cases import Decode, Prefill
from bench.machine import Machine
from bench.measure import Row, Timing
from bench.roofline import Roofline
from bench.startup import Startup
from bench.targets import Comparison, compare, goal

__all__ = [
    "Run",
    "around_section",
    "markdown",
    "short_table",
    "summary_table",
    "to_json",
    "write",
    "write_section",
]

_BEGIN, _END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"


@dataclass(frozen=True)
class Run:
    """All that a benchmark has found.

    Attributes:
        rows: the cases.
        machine: where.
        roofline: what the machine can do.
        startup: how long compiling takes.
    """

    rows: Sequence[Row]
    machine: Machine
    roofline: Roofline
    startup: Startup


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are flush left, and the rest flush right."""
    rule = ["---" if n < left else "---:" for n in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def summary_table(rows: Sequence[Row], roofline: Roofline, threads: int) -> str:
    """One line per comparison of ours with the best of the others."""
    header = [
        *("row", "what", "dtype", "ours"),
        *("GF/s", "% peak", "GB/s", "% stream", "best peer", "its time", "ratio", "goal"),
    ]
    lines = [_summary_line(row, found, roofline, threads) for row in rows for found in compare(row)]
    return table(header, lines, left=3)


def _summary_line(row: Row, found: Comparison, roofline: Roofline, threads: int) -> list[str]:
    case, own = row.case, found.own
    name = f"{case.name}, rope fused" if own.problem == "rope" else case.name
    if not own.rounds:
        return [name, case.label, row.dtype, own.failure or "no time", *[""] * 8]
    flops, bandwidth = case.flops() / own.seconds, case.bytes(row.dtype) / own.seconds
    peak = roofline.peak(row.dtype)
    wanted = goal(case, row.dtype, threads) if found.counts else None
    verdict = ""
    if wanted is not None:
        met = found.ratio is not None and found.ratio >= wanted[0]
        verdict = f"{wanted[0]:.3g} {'met' if met else 'missed'}"
    return [
        name,
        case.label,
        row.dtype,
        milliseconds(own.seconds) + _rate(row, own),
        f"{flops / 1e9:.0f}" if flops else "",
        f"{100 * flops / peak:.0f}" if flops and peak else "",
        f"{bandwidth / 1e9:.1f}",
        f"{100 * bandwidth / roofline.stream:.0f}",
        found.peer.name if found.peer else "",
        milliseconds(found.peer.seconds) if found.peer else "",
        f"**{found.ratio:.2f}**" if found.ratio is not None else "",
        verdict,
    ]


def _rate(row: Row, timing: Timing) -> str:
    if not isinstance(row.case, Prefill | Decode):
        return ""
    tokens = row.case.prompt if isinstance(row.case, Prefill) else 1
    return f" ({tokens / timing.seconds:.1f} tok/s)"


def details_table(rows: Sequence[Row]) -> str:
    """One line per variant of every tool."""
    lines = []
    for row in rows:
        for timing in sorted(row.timings, key=lambda t: t.seconds):
            time = milliseconds(timing.seconds) if timing.rounds else timing.failure
            lines.append(
                [
                    row.case.name,
                    row.dtype,
                    timing.name,
                    time.replace("|", "/").replace("\n", " "),
                    str(len(timing.rounds)),
                    f"{timing.error:.1e}" if timing.rounds else "",
                    f"{timing.ready:.1f} s" if timing.ready else "",
                ]
            )
    header = ["row", "dtype", "tool", "time", "turns", "error", "ready after"]
    return table(header, lines, left=3)


def milliseconds(seconds: float) -> str:
    """With three significant digits."""
    value = seconds * 1e3
    digits = max(0, 2 - (len(str(int(value))) - 1)) if value >= 1 else 3
    return f"{value:.{digits}f} ms"


def _of_tiles(roofline: Roofline) -> str:
    return "" if roofline.tiles is None else f" bf16 tiles {roofline.tiles / 1e9:.0f} GF/s,"


def short_table(run: Run) -> str:
    """For the README: what counts of each row."""
    lines = []
    for row in run.rows:
        for found in compare(row):
            if not found.counts or found.ratio is None or found.peer is None:
                continue
            name = f"{row.case.name}, rope fused" if found.own.problem == "rope" else row.case.name
            ours, peer = milliseconds(found.own.seconds), milliseconds(found.peer.seconds)
            cells = [name, row.case.label, row.dtype, ours + _rate(row, found.own)]
            lines.append([*cells, found.peer.name, peer, f"**{found.ratio:.2f}**"])
    header = ["row", "what", "dtype", "rlx", "best peer", "its time", "ratio"]
    return table(header, lines, left=3)


def around_section(path: Path) -> tuple[str, str]:
    """What a file holds before and after its section for results, the marks included.

    Raises:
        ValueError: the file has no such marks.
    """
    text = path.read_text()
    begin, end = text.find(_BEGIN), text.find(_END)
    if not 0 <= begin < end:
        raise ValueError(f"expected '{_BEGIN}' and '{_END}' in {path}")
    return text[: begin + len(_BEGIN)], text[end:]


def write_section(path: Path, run: Run) -> None:
    """Puts the short table between the marks in a file.

    Raises:
        ValueError: the file has no such marks.
    """
    before, after = around_section(path)
    threads = len(run.machine.used)
    intro = (
        f"{run.machine.date[:10]}, {run.machine.processor}, {threads} "
        f"thread{'s' if threads > 1 else ''}; a ratio is the time of the best other tool over "
        f"that of rlx. {_sentence(run.startup)}"
    )
    path.write_text(f"{before}\n{intro}\n\n{short_table(run)}\n{after}")


def _sentence(startup: Startup) -> str:
    return (
        f"In a fresh process, block B1 compiles in {startup.cold:.2f} s after imports "
        f"({startup.imports:.2f} s), and is ready from the cache on disk in "
        f"{startup.second * 1e3:.0f} ms."
    )


def markdown(run: Run) -> str:
    """The whole report."""
    rows, machine, roofline = run.rows, run.machine, run.roofline
    threads = len(machine.used)
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return f"""# {"One thread" if threads == 1 else f"{threads} threads"}

{machine.date}, {machine.processor}, {machine.cores} cores of which {threads} used; load before the
run {machine.load}.

{versions}.

The machine, measured in the same run: f32 multiply-adds {roofline.flops / 1e9:.0f}
GF/s,{_of_tiles(roofline)} reads from memory {roofline.stream / 1e9:.1f} GB/s, from an array of
16 MiB {roofline.cache / 1e9:.1f} GB/s.

{_sentence(run.startup)}

Every tool computes the same inputs in a process of its own, in turns, pinned to the same cores;
processes that wait are stopped. Times are medians; a ratio is the median over turns of the best
peer's time over ours. Every result has been compared with one in f64. GF/s count products only;
GB/s what has to be read and written at least. "Rope fused": our time includes a partial rotary
embedding of queries and keys, the best peer's need not.

{summary_table(rows, roofline, threads)}

## Every tool

Variants that were far behind the best peer got fewer turns. The error is the largest one over the
root mean square of the result. "Ready after" is the time to compile and run twice.

{details_table(rows)}
"""


def to_json(run: Run) -> dict[str, Any]:
    """All that was measured."""
    return {
        "machine": asdict(run.machine),
        "roofline": asdict(run.roofline),
        "startup": asdict(run.startup),
        "rows": [
            {
                "row": row.case.name,
                "label": row.case.label,
                "dtype": row.dtype,
                "flops": row.case.flops(),
                "bytes": row.case.bytes(row.dtype),
                "timings": [asdict(timing) for timing in row.timings],
            }
            for row in run.rows
        ],
    }


def write(folder: Path, run: Run) -> list[Path]:
    """Writes the table, the data, and plots where matplotlib is installed; returns the files."""
    from bench.plots import plot

    folder.mkdir(parents=True, exist_ok=True)
    threads = len(run.machine.used)
    isa = f"{run.machine.isa}-" if run.machine.isa else ""
    base = folder / f"cpu-{isa}{threads}-thread{'s' if threads > 1 else ''}"
    text, data = base.with_suffix(".md"), base.with_suffix(".json")
    text.write_text(markdown(run))
    data.write_text(json.dumps(to_json(run), indent=1) + "\n")
    return [text, data, *plot(base, run.rows, run.roofline)]
