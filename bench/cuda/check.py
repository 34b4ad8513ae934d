"""Checks a case on a GPU, and times it: what a process of `run.py` does."""

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.cuda.clock import Clock
from bench.cuda.diagnosis import diagnose
from bench.cuda.interop import errors
from bench.cuda.peers import peers
from bench.cuda.references import TOLERANCE, Case, Sizes, difference, expected, inputs, shapes, work

__all__ = ["Desk", "check_small", "check_stored", "on_gpu", "run_cases"]

_SMALL = 2**22  # elements that NumPy makes


@dataclass(frozen=True)
class Desk:
    """What cases are worked on with.

    Attributes:
        folder: with the compiled cases.
        arch: whose code is checked.
        torch: the module.
        clock: None where nothing is timed.
        peak: operations and bytes per second, as measured.
        rows: a file that rows are appended to, each as a line of JSON.
        keep: where results that are wrong are kept; None: nowhere.
    """

    folder: Path
    arch: str
    torch: Any
    clock: Clock | None
    peak: Any
    rows: Path
    keep: Path | None = None

    def load(self, name: str, arch: str) -> Any:
        from rlx.runtime.cuda import load

        return load(self.folder / "code" / arch / name)

    def note(self, **row: Any) -> dict[str, Any]:
        with self.rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return row

    def portable(self, name: str) -> Any:
        """The same with the code for all GPUs; None where that is what is checked."""
        there = self.arch != "sm_80" and (self.folder / "code" / "sm_80" / name).exists()
        return self.load(name, "sm_80") if there else None


def run_cases(cases: list[Case], desk: Desk) -> int:
    """Runs cases up to the first one that is not right; returns the exit code."""
    for case in cases:
        name = case["name"]
        desk.note(case=name, begins=True)
        try:
            run = _run_stored if case["kind"] == "stored" else _run_case
            right = run(case, desk.load(name, desk.arch), desk)
        except Exception as error:
            traceback.print_exc(limit=-3, file=sys.stdout)
            sys.stdout.flush()
            desk.note(case=name, failed=f"{type(error).__name__}: {error}", ok=False)
            right = False
        desk.note(case=name, ends=True)
        if not right:
            return 1  # who knows what else it has written to
    return 0


def check_small(case: Case, call: Callable[..., Any], to_dtype: Callable[..., Any]) -> float:
    """The error of a small call, in NumPy; ``to_dtype`` rounds an array to a storage type."""
    sizes, dtype = case["small"], case["attrs"]["dtype"]
    arrays = [a if a.dtype == np.int32 else to_dtype(a, dtype) for a in inputs(case, sizes)]
    actual = np.asarray(call(*arrays)).astype(np.float32)
    wide = [a if a.dtype == np.int32 else a.astype(np.float32) for a in arrays]
    return difference(actual, expected(case, wide, np), np)


def check_stored(case: Case, folder: Path, executable: Any) -> list[tuple[float, Any, Any]]:
    """For each result its error, the result, and what it should be."""
    arrays, wanted = _stored(case, folder)
    executable.bind(arrays)
    given = {spec.name: arrays[spec.name] for spec in executable.inputs}
    found = [np.asarray(value).astype(np.float32) for value in executable.run(given).values()]
    return [(difference(a, b, np), a, b) for a, b in zip(found, wanted, strict=True)]


def _stored(case: Case, folder: Path) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Arguments by name, and results."""
    with np.load(folder / "data" / f"{case['name']}.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    count = case["attrs"]["results"]
    wanted = [arrays.pop(f"result {n}").astype(np.float32) for n in range(count)]
    return arrays, wanted


def _run_stored(case: Case, executable: Any, desk: Desk) -> bool:
    found = check_stored(case, desk.folder, executable)
    right = True
    for error, _, _ in found:
        ok = error <= case["attrs"]["tolerance"]
        print(f"{case['name']:22s} error {error:.1e} {'ok' if ok else 'WRONG'}", flush=True)
        desk.note(case=case["name"], error=error, ok=ok)
        right &= ok
    if not right:
        results = {f"result {n}": (a, b) for n, (_, a, b) in enumerate(found)}
        if (portable := desk.portable(case["name"])) is not None:
            others = check_stored(case, desk.folder, portable)
            results |= {f"code for sm_80, {n}": (a, b) for n, (_, a, b) in enumerate(others)}
        arrays = list(_stored(case, desk.folder)[0].values())
        diagnose(case, results, None, [executable, {}, arrays], desk.keep)
    return right


def on_gpu(case: Case, sizes: Sizes, torch: Any) -> list[Any]:
    """The arguments of a case in the types that it takes."""
    dtypes = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
    made = []
    large = sum(np.prod(shape) for shape, _ in shapes(case, sizes)) > _SMALL
    values = inputs(case, sizes, without=case["attrs"]["dtype"] if large else None)
    for array, (shape, kind) in zip(values, shapes(case, sizes), strict=True):
        dtype = dtypes.get(case["attrs"]["dtype"] if kind in ("cos", "sin") else kind)
        if array is None:
            made.append(torch.randn(shape, device="cuda", dtype=dtype))
            continue
        value = torch.from_numpy(array).cuda()
        made.append(value if dtype is None else value.to(dtype))
    return made


def _replayed(executable: Any, arrays: list[Any], like: Any, torch: Any) -> Any:
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


def _run_case(case: Case, executable: Any, desk: Desk) -> bool:
    """Checks, and times; a row for each size, which is printed as well."""
    torch, name = desk.torch, case["name"]
    tolerance, right = TOLERANCE[case["attrs"]["dtype"]], True

    def note(what: dict[str, Any], text: str, ok: bool, **row: Any) -> bool:
        told = "" if "error" not in row else f" error {row['error']:.1e}"
        print(f"{name:22s} {text:42s}{told} {'ok' if ok else 'WRONG'}", flush=True)
        desk.note(case=name, **what, **row, ok=ok)
        return ok

    def attempt(run: Any, arrays: list[Any]) -> tuple[Any, Any]:
        actual = torch.from_dlpack(run.on(torch.cuda.current_stream())(*arrays))
        wide = [a if a.dtype == torch.int32 else a.float() for a in arrays]
        return actual, expected(case, wide, torch)

    torch.manual_seed(0)
    for sizes in [case["small"], *(sizes for sizes in case["sizes"] if sizes != case["small"])]:
        small = sizes == case["small"]
        arrays = on_gpu(case, sizes, torch)
        actual, wanted = attempt(executable, arrays)
        error = difference(actual.float(), wanted, torch)
        ok = note({"sizes": sizes}, str(sizes), error <= tolerance, error=error)
        if not ok:
            found = {"as it is": (actual, wanted)}
            others = {k: v for k, v in {"code for sm_80": desk.portable(name)}.items() if v}
            tries = (lambda run, given: attempt(run, given)) if small else None
            diagnose(case, found, tries, [executable, others, arrays], desk.keep if small else None)
        elif small:
            same = torch.equal(_replayed(executable, arrays, actual, torch), actual)
            ok = note({"graph": True}, "from a graph", same)
        right &= ok
        del actual, wanted
        if ok and desk.clock is not None and sizes in case["sizes"]:
            _time(case, sizes, executable, arrays, desk)
        del arrays
        torch.cuda.empty_cache()
    if case["attrs"]["dtype"] == "f16":
        for framework, found in errors(case, executable).items():
            told = found if isinstance(found, str) else f"{found:.1e}"
            ok = not isinstance(found, str) and found <= tolerance
            right &= note(
                {"framework": framework, "told": told}, f"arrays of {framework}: {told}", ok
            )
    return right


def _time(case: Case, sizes: Sizes, executable: Any, arrays: list[Any], desk: Desk) -> None:
    assert desk.clock is not None
    stream = desk.torch.cuda.current_stream()
    run = executable.on(stream)
    calls = {"rlx": lambda: run(*arrays)}

    def note() -> None:
        seconds = desk.clock.compare(calls)
        desk.note(case=case["name"], sizes=sizes, seconds=seconds, ok=True)
        print("    " + describe(case, sizes, seconds, desk.peak), flush=True)

    note()  # whatever becomes of the others
    if (portable := desk.portable(case["name"])) is not None:
        other = portable.on(stream)
        calls["rlx, sm_80"] = lambda: other(*arrays)
    calls |= peers(case, arrays, desk.torch)
    note()


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
