"""Runs compiled kernels on a GPU: checks them, and times them beside their peers.

Lies in a folder of its own, with what was compiled and with the runtime; needs NumPy, PyTorch and
cuda-bindings (without PyTorch, only what has stored results is checked). A case that fails, hangs
or is wrong leaves the others alone: these go on in another process. Times are medians over rounds
in which all take turns, by CUDA events, with a cold cache. Where a peer cannot be had, a line says
why.

    python run.py                     check, and time
    python run.py --quick             check only
    python run.py --cases 'matmul*'   some cases
    python run.py --output FILE       write the figures as JSON, too, as they come; results that are
                                      wrong go to a folder beside it
    python run.py --limit 570         whatever comes later than this is left out
"""

import argparse
import fnmatch
import json
import math
import sys
from pathlib import Path
from typing import Any

from bench.cuda.check import Desk, run_cases
from bench.cuda.clock import Clock
from bench.cuda.processes import run_each
from bench.cuda.references import Case

__all__ = ["arch_of", "main"]

HERE = Path(__file__).resolve().parents[2]


def arch_of(capability: tuple[int, int], archs: list[str]) -> str:
    """The best of ``archs`` for a GPU."""
    number = capability[0] * 10 + capability[1]
    if f"sm_{number}a" in archs:
        return f"sm_{number}a"
    fitting = [a for a in archs if not a.endswith("a") and int(a[3:]) <= number]
    if not fitting:
        raise SystemExit(f"nothing was compiled for sm_{number}: there is {', '.join(archs)}")
    return max(fitting, key=lambda a: int(a[3:]))


def main(arguments: list[str] | None = None, folder: Path = HERE) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="check only, no times")
    add("--cases", default="*", help="comma-separated names or patterns")
    add("--arch", help="use the code for this architecture")
    add("--rounds", type=int, default=30, help="turns of each (default: 30)")
    add("--timeout", type=float, help="seconds without news after which a case is given up")
    add("--limit", type=float, default=math.inf, help="seconds for everything")
    add("--output", type=Path, help="file for the figures")
    add("--rows", type=Path, help="run the cases in this process, and append rows to this file")
    add("--peaks", default="null", help="what was measured, for --rows")
    options = parser.parse_args(arguments)
    facts = json.loads((folder / "cases.json").read_text())
    patterns = options.cases.split(",")
    cases = [c for c in facts["cases"] if any(fnmatch.fnmatch(c["name"], p) for p in patterns)]
    if not cases:
        parser.error(f"no case is named {options.cases}")
    from rlx.runtime.cuda import available, why_not
    from rlx.runtime.cuda.driver import driver

    if not available():
        print(f"there is no GPU to run on: {why_not()}", file=sys.stderr)
        return 2
    gpu = driver()
    arch = options.arch or arch_of(gpu.capability, facts["archs"])
    torch, problem = _torch()
    if options.rows is not None:
        clock = None if options.quick else Clock(torch, options.rounds)
        peak = json.loads(options.peaks)
        keep = options.output and options.output.with_suffix("")
        return run_cases(cases, Desk(folder, arch, torch, clock, peak, options.rows, keep))
    print(f"{gpu.name}, code for {arch}, {problem or f'torch {torch.__version__}'}", flush=True)
    about = {"device": gpu.name, "arch": arch, "torch": problem or torch.__version__}
    rows = _run_each(cases, folder, about, options, torch)
    bad = [row for row in rows if not row["ok"]]
    for row in bad:
        print(f"not right: {json.dumps(row)}")
    print("something is wrong" if bad else "all right")
    return 1 if bad else 0


def _torch() -> tuple[Any, str]:
    """PyTorch, or None and why."""
    try:
        import torch
    except ImportError as error:
        return None, f"PyTorch cannot be imported: {error}"
    if not torch.cuda.is_available():
        return None, f"torch {torch.__version__} finds no GPU"
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch, ""


def _run_each(
    cases: list[Case], folder: Path, about: dict[str, Any], options: Any, torch: Any
) -> list[dict[str, Any]]:
    """Rows of all cases; without PyTorch, of those whose results are stored."""
    names = [case["name"] for case in cases]
    rows: list[dict[str, Any]] = []
    if torch is None:
        names = [case["name"] for case in cases if case["kind"] == "stored"]
        others = [case["name"] for case in cases if case["name"] not in names]
        rows = [{"case": name, "failed": about["torch"], "ok": False} for name in others]
    peak, quick = None, options.quick or torch is None
    if not quick:
        peak = Clock(torch, options.rounds).peaks()
        torch.cuda.empty_cache()
        print(f"measured: product {peak[0] / 1e12:.0f} TFLOP/s, copy {peak[1] / 1e9:.0f} GB/s")
        sys.stdout.flush()
    command = [sys.executable, "-X", "faulthandler", str(folder / "run.py")]
    command += [f"--arch={about['arch']}", f"--rounds={options.rounds}"]
    command += [f"--peaks={json.dumps(peak)}", *["--quick"] * quick]
    command += [f"--output={options.output}"] if options.output else []
    # Peers take their time to compile.
    patience = options.timeout or (60 if quick else 150)
    for row in run_each(command, names, patience, options.limit):
        if "failed" in row:
            print(f"{row['case']:22s} FAILED: {row['failed']}", flush=True)
        rows.append(row)
        if options.output:
            facts = {**about, "peaks": peak, "rows": rows}
            options.output.write_text(json.dumps(facts, indent=1))
    return rows
