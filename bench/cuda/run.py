"""Runs compiled kernels on a GPU: checks them, and times them beside their peers.

Lies in a folder of its own, with what was compiled and with the runtime; needs NumPy, PyTorch and
cuda-bindings. Each case runs in a process of its own, so that one that fails or hangs leaves the
others alone. Times are medians over rounds in which all take turns, by CUDA events, with a cold
cache. Where a peer cannot be had, a line says why.

    python run.py                     check, and time
    python run.py --quick             check only
    python run.py --cases 'matmul*'   some cases
    python run.py --output FILE       write the figures as JSON, too
"""

import argparse
import fnmatch
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.cuda.clock import Clock
from bench.cuda.interop import errors
from bench.cuda.peers import peers
from bench.cuda.references import TOLERANCE, Case, Sizes, difference, expected, inputs, shapes, work

__all__ = ["arch_of", "check_small", "main"]

HERE = Path(__file__).resolve().parents[2]


def check_small(case: Case, call: Callable[..., Any], to_dtype: Callable[..., Any]) -> float:
    """The error of a small call, in NumPy; ``to_dtype`` rounds an array to a storage type."""
    sizes, dtype = case["small"], case["attrs"]["dtype"]
    arrays = [a if a.dtype == np.int32 else to_dtype(a, dtype) for a in inputs(case, sizes)]
    actual = np.asarray(call(*arrays)).astype(np.float32)
    wide = [a if a.dtype == np.int32 else a.astype(np.float32) for a in arrays]
    return difference(actual, expected(case, wide, np), np)


def on_gpu(case: Case, sizes: Sizes, torch: Any) -> list[Any]:
    """The arguments of a case in the types that it takes."""
    dtypes = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
    made = []
    for array, (_, kind) in zip(inputs(case, sizes), shapes(case, sizes), strict=True):
        value = torch.from_numpy(array).cuda()
        if kind != "lengths":
            value = value.to(dtypes[case["attrs"]["dtype"] if kind in ("cos", "sin") else kind])
        made.append(value)
    return made


def replayed(executable: Any, arrays: list[Any], like: Any, torch: Any) -> Any:
    """The result of a call that was recorded in a graph."""
    stream, out = torch.cuda.Stream(), torch.empty_like(like)
    call = executable.on(stream, out={executable.outputs[0].name: out})
    with torch.cuda.stream(stream):
        call(*arrays)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        call(*arrays)
    out.zero_()
    graph.replay()
    torch.cuda.synchronize()
    return out


def run_case(
    case: Case, executable: Any, torch: Any, clock: Clock | None, peak: Any
) -> list[dict[str, Any]]:
    """Checks, and times; a row for each size, which is printed as well."""
    rows = []
    tolerance = TOLERANCE[case["attrs"]["dtype"]]
    for sizes in [case["small"], *case["sizes"]]:
        arrays = on_gpu(case, sizes, torch)
        call = executable.on(torch.cuda.current_stream())
        actual = torch.from_dlpack(call(*arrays))
        wanted = expected(case, [a if a.dtype == torch.int32 else a.float() for a in arrays], torch)
        error = difference(actual.float(), wanted, torch)
        graph = ""
        if sizes == case["small"] and not torch.equal(
            replayed(executable, arrays, actual, torch), actual
        ):
            error, graph = float("inf"), ", another result from a graph"
        row: dict[str, Any] = {"case": case["name"], "sizes": sizes, "error": error}
        row["ok"] = error <= tolerance
        line = f"{case['name']:22s} {sizes!s:42s} error {error:.1e} "
        print(line + ("ok" if row["ok"] else "WRONG") + graph, flush=True)
        del actual, wanted
        if clock is not None and sizes in case["sizes"]:
            ours = {"rlx": lambda c=call, a=arrays: c(*a)}
            row["seconds"] = clock.compare({**ours, **peers(case, arrays, torch)})
            print("    " + describe(case, sizes, row["seconds"], peak), flush=True)
        rows.append(row)
        del arrays
        torch.cuda.empty_cache()
    if case["attrs"]["dtype"] == "f16":
        for name, found in errors(case, executable).items():
            ok = not isinstance(found, str) and found <= tolerance
            rows.append({"case": case["name"], "framework": name, "error": found, "ok": ok})
            print(f"    arrays of {name}: error {found} {'ok' if ok else 'WRONG'}", flush=True)
    return rows


def describe(case: Case, sizes: Sizes, seconds: dict[str, float], peak: Any) -> str:
    flops, moved = work(case, sizes)
    ours = seconds["rlx"]
    parts = [f"rlx {ours * 1e6:.1f} us"]
    if flops:
        parts.append(f"{flops / ours / 1e12:.0f} TFLOP/s ({flops / ours / peak[0]:.0%} of peak)")
    parts.append(f"{moved / ours / 1e9:.0f} GB/s ({moved / ours / peak[1]:.0%} of copy)")
    for name, other in seconds.items():
        if name != "rlx":
            parts.append(f"{name} {other * 1e6:.1f} us (ratio {other / ours:.2f})")
    return ", ".join(parts)


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
    add("--timeout", type=float, default=300, help="seconds that a case may take (default: 300)")
    add("--output", type=Path, help="file for the figures")
    add("--here", metavar="PEAKS", help="run the cases in this process, with these peaks")
    options = parser.parse_args(arguments)
    facts = json.loads((folder / "cases.json").read_text())
    patterns = options.cases.split(",")
    cases = [c for c in facts["cases"] if any(fnmatch.fnmatch(c["name"], p) for p in patterns)]
    if not cases:
        parser.error(f"no case is named {options.cases}")
    from rlx.runtime.cuda import available, why_not

    if not available():
        print(f"there is no GPU to run on: {why_not()}", file=sys.stderr)
        return 2
    import torch

    if not torch.cuda.is_available():
        print(f"torch {torch.__version__} finds no GPU", file=sys.stderr)
        return 2
    torch.backends.cuda.matmul.allow_tf32 = False
    arch = options.arch or arch_of(torch.cuda.get_device_capability(), facts["archs"])
    if options.here is not None:
        _run_here(cases, folder / "code" / arch, options, torch)
        return 0
    ok = all(row["ok"] for row in _run_each(cases, folder, arch, options, torch))
    print("all right" if ok else "something is wrong")
    return 0 if ok else 1


def _run_here(cases: list[Case], code: Path, options: Any, torch: Any) -> None:
    from rlx.runtime.cuda import load

    peak = json.loads(options.here)
    clock = None if options.quick else Clock(torch, options.rounds)
    rows = []
    for case in cases:
        try:
            rows += run_case(case, load(code / case["name"]), torch, clock, peak)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            print(f"{case['name']:22s} FAILED: {text}", flush=True)
            rows.append({"case": case["name"], "failed": text, "ok": False})
    if options.output:
        options.output.write_text(json.dumps(rows))


def _run_each(
    cases: list[Case], folder: Path, arch: str, options: Any, torch: Any
) -> list[dict[str, Any]]:
    """Every case in a process of its own."""
    print(f"{torch.cuda.get_device_name()}, code for {arch}, torch {torch.__version__}")
    peak = None
    if not options.quick:
        peak = Clock(torch, options.rounds).peaks()
        torch.cuda.empty_cache()
        print(f"measured: product {peak[0] / 1e12:.0f} TFLOP/s, copy {peak[1] / 1e9:.0f} GB/s")
    sys.stdout.flush()
    rows: list[dict[str, Any]] = []
    common = [f"--arch={arch}", f"--rounds={options.rounds}", f"--here={json.dumps(peak)}"]
    common += ["--quick"] if options.quick else []
    for case in cases:
        with tempfile.TemporaryDirectory() as temporary:
            output = Path(temporary, "rows.json")
            child = [sys.executable, str(folder / "run.py"), *common]
            try:
                subprocess.run(
                    [*child, f"--cases={case['name']}", f"--output={output}"],
                    timeout=options.timeout,
                    check=False,
                )
                problem = "" if output.exists() else "the process ended early"
            except subprocess.TimeoutExpired:
                problem = f"took more than {options.timeout:.0f} s"
            if problem:
                print(f"{case['name']:22s} FAILED: {problem}", flush=True)
                rows.append({"case": case["name"], "failed": problem, "ok": False})
            else:
                rows += json.loads(output.read_text())
    if options.output:
        about = {"device": torch.cuda.get_device_name(), "arch": arch, "torch": torch.__version__}
        options.output.write_text(json.dumps({**about, "peaks": peak, "rows": rows}, indent=1))
    return rows
