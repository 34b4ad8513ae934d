"""`rlx-run`: compiles a checkpoint or an .mlir file and runs it."""

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlx.tools.command import UsageError, add_compilation, execute, read_mlir, read_model
from rlx.tools.progress import Progress

if TYPE_CHECKING:
    from rlx.runtime import Executable, Spec

__all__ = ["main"]

_REFERENCE = "reference.safetensors"

# Largest deviation from recorded results, as a fraction of the largest recorded magnitude.
_TOLERANCE = {"f64": 1e-10, "f32": 1e-4, "f16": 1e-2, "bf16": 5e-2}

_EPILOG = """
examples:
  rlx-run examples/tiny-gemma3                 run a checkpoint on its recorded inputs
  rlx-run model.mlir --random-inputs --time    run anything, on random numbers
  rlx-run model.mlir --input x=x.npy --output out
  rlx-run examples/tiny-gemma3 --emit=fused    look at the IR of a stage

environment:
  RLX_MLIR         which MLIR bindings to use: mlir or torch_mlir
  RLX_CACHE_DIR    where compiled code is kept (default ~/.cache/rlx)
  RLX_CACHE_SIZE   its limit in MiB (default 1024)
"""


@dataclass
class _Job:
    """What there is to run."""

    source: Any
    directory: Path | None = None
    limits: dict[str, int] | None = None  # exclusive upper bounds of integer inputs


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    args = _parser().parse_args(argv)
    return execute("rlx-run", lambda progress: _run(args, progress))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlx-run",
        description="Compiles a model and runs it: a checkpoint in Hugging Face layout, or MLIR.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_compilation(parser, "run")
    add = parser.add_argument
    add(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="an input from a .npy file, or from a .safetensors file that holds NAME",
    )
    add("--random-inputs", action="store_true", help="draw the inputs that are not given")
    add("--seed", type=int, default=0, help="for --random-inputs (default 0)")
    add(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=2x16",
        help="for --random-inputs: the shape of an input with dynamic sizes",
    )
    add(
        "--dim",
        type=int,
        default=8,
        metavar="N",
        help="for --random-inputs: all other dynamic sizes (default 8)",
    )
    add(
        "--int-limit",
        type=int,
        metavar="N",
        help="for --random-inputs: integers are below N (default: the vocabulary size, or 2)",
    )
    add("--output", metavar="DIR", help="write the results there, as .npy (bf16: .safetensors)")
    add("--tolerance", type=float, help=f"largest deviation from {_REFERENCE}, relative")
    add("--emit", metavar="STAGE", help="print the IR after a stage instead of running")
    add("--dump", metavar="DIR", help="write the IR after every stage there")
    add("--time", action="store_true", help="say how long compiling and running take")
    return parser


def _run(args: argparse.Namespace, progress: Progress) -> int:
    from rlx import compiler

    if args.emit and (args.input or args.random_inputs or args.output):
        raise UsageError("--emit prints IR and runs nothing: it takes no inputs and no outputs")
    if args.dim < 0:
        raise UsageError(f"--dim: expected a size, but got {args.dim}")
    progress("load")
    job = _job(args)
    if args.emit:
        module = compiler.lower(
            job.source,
            args.emit,
            args.target,
            args.entry,
            quantize=args.quantize,
            threads=args.threads,
        )
        progress.done()
        print(module)
        return 0
    executable = compiler.compile(
        job.source,
        args.target,
        args.entry,
        quantize=args.quantize,
        threads=args.threads,
        cache=not args.no_cache,
        dump=args.dump,
        progress=progress,
    )
    inputs, expected = _inputs(args, job, executable)
    progress("run")
    outputs = executable.run(inputs)
    progress.done()
    for spec in executable.outputs:
        print(_describe(spec, outputs[spec.name]))
    if args.time:
        _print_times(executable, lambda: executable.run(inputs))
    if args.output:
        _write(Path(args.output), outputs)
    return 0 if _agrees(executable, outputs, expected, args.tolerance) else 1


def _job(args: argparse.Namespace) -> _Job:
    model = read_model(args)
    if model is None:
        return _Job(read_mlir(args))
    built, vocabulary = model
    return _Job(built, Path(args.source), {"input_ids": vocabulary})


# -- inputs ----------------------------------------------------------------------------------------


def _inputs(
    args: argparse.Namespace, job: _Job, executable: "Executable"
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The inputs of the run by name, and what to compare its results with."""
    specs = {spec.name: spec for spec in executable.inputs}
    inputs: dict[str, np.ndarray] = {}
    expected: dict[str, np.ndarray] = {}
    for word in args.input:
        name, equals, file = word.partition("=")
        if not equals:
            raise UsageError(f"--input: expected NAME=FILE, but got '{word}'")
        if name not in specs:
            raise UsageError(f"--input: no input '{name}'; there are: {', '.join(specs) or 'none'}")
        inputs[name] = _read(Path(file), name)
    shapes = _shapes(args.shape, specs)
    reference = job.directory / _REFERENCE if job.directory else None
    if not inputs and not args.random_inputs and reference and reference.is_file():
        tensors = _read_all(reference)
        inputs = {name: tensors[name] for name in specs if name in tensors}
        names = {spec.name for spec in executable.outputs}
        expected = {name: tensors[name] for name in names if name in tensors}
        if not expected:
            raise UsageError(f"{reference} holds none of the results: {', '.join(sorted(names))}")
    missing = [name for name in specs if name not in inputs]
    if missing and not args.random_inputs:
        listed = ", ".join(str(specs[name]) for name in missing)
        raise UsageError(f"missing inputs (--input NAME=FILE or --random-inputs): {listed}")
    generator = np.random.default_rng(args.seed)
    for name in missing:
        limit = args.int_limit or (job.limits or {}).get(name, 2)
        shape = shapes.get(name)
        inputs[name] = _random(generator, specs[name], shape, args.dim, limit)
    return inputs, expected


def _shapes(words: list[str], specs: dict[str, "Spec"]) -> dict[str, tuple[int, ...]]:
    found = {}
    for word in words:
        match = re.fullmatch(r"(.+)=((?:\d+x)*\d+|)", word)
        if match is None:
            raise UsageError(f"--shape: expected NAME=2x16, but got '{word}'")
        name, sizes = match[1], tuple(map(int, match[2].split("x"))) if match[2] else ()
        if name not in specs:
            raise UsageError(f"--shape: no input '{name}'; there are: {', '.join(specs) or 'none'}")
        spec = specs[name]
        if len(sizes) != len(spec.shape) or any(
            want not in (None, got) for want, got in zip(spec.shape, sizes, strict=True)
        ):
            raise UsageError(f"--shape: '{word}' does not fit {spec}")
        found[name] = sizes
    return found


def _random(
    generator: np.random.Generator,
    spec: "Spec",
    shape: tuple[int, ...] | None,
    dim: int,
    limit: int,
) -> np.ndarray:
    from rlx import dtypes

    dtype = dtypes.NAMES[spec.dtype]
    if shape is None:
        shape = tuple(dim if size is None else size for size in spec.shape)
    if spec.dtype == "i1":
        return generator.integers(0, 2, shape).astype(dtype)
    if spec.dtype.startswith("i"):
        return generator.integers(0, min(limit, np.iinfo(dtype).max), shape, dtype)
    values = generator.standard_normal(shape)
    # Of the size that trained weights have, so that deep models do not overflow.
    return (values * 0.02 if spec.param else values).astype(dtype)


def _read(path: Path, name: str) -> np.ndarray:
    if path.suffix == ".safetensors":
        tensors = _read_all(path)
        if name not in tensors:
            raise UsageError(f"{path} holds no tensor '{name}'; it holds: {', '.join(tensors)}")
        return tensors[name]
    try:
        with open(path, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError):
        raise UsageError(f"{path} is not a .npy file of numbers") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _read_all(path: Path) -> dict[str, np.ndarray]:
    from rlx.flow import SafetensorsWeights

    weights = SafetensorsWeights(path)
    return {name: weights.get(name) for name in weights.keys()}  # noqa: SIM118 -- no mapping


# -- outputs ---------------------------------------------------------------------------------------


def _describe(spec: "Spec", value: Any) -> str:
    from rlx.runtime.arguments import describe

    array = np.asarray(value)
    type_ = spec.type if spec.scalar else describe(array)
    flat = array.reshape(-1)
    head = ", ".join(_number(item) for item in flat[:4])
    values = f"[{head}, ...]" if flat.size > 4 else f"[{head}]"
    return f"{spec.name}: {type_} = {head if spec.scalar else values}"


def _number(value: Any) -> str:
    return str(value) if value.dtype.kind in "iub" else f"{float(value):.6g}"


def _print_times(executable: "Executable", call: Callable[[], Any]) -> None:
    for step, seconds in executable.timings.items():
        print(f"  {step:<12}{seconds * 1e3:10.1f} ms")
    seconds_per_run: list[float] = []
    end = time.perf_counter() + 1.0
    while len(seconds_per_run) < 3 or (time.perf_counter() < end and len(seconds_per_run) < 100):
        start = time.perf_counter()
        call()
        seconds_per_run.append(time.perf_counter() - start)
    best, middle = min(seconds_per_run), statistics.median(seconds_per_run)
    print(
        f"  {'run':<12}{middle * 1e3:10.3f} ms (median of {len(seconds_per_run)}, "
        f"best {best * 1e3:.3f} ms)"
    )


def _write(folder: Path, outputs: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in outputs.items():
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        path = folder / re.sub(r"[^\w.-]", "_", name)
        if array.dtype.kind == "V":
            from safetensors.numpy import save_file

            save_file({name: array}, f"{path}.safetensors")
        else:
            np.save(f"{path}.npy", array)


def _agrees(
    executable: "Executable",
    outputs: dict[str, Any],
    expected: dict[str, np.ndarray],
    tolerance: float | None,
) -> bool:
    good = True
    for spec in executable.outputs:
        if spec.name not in expected:
            continue
        limit = tolerance if tolerance is not None else _TOLERANCE.get(spec.dtype, 0.0)
        found = np.asarray(outputs[spec.name]).astype(np.float64)
        wanted = expected[spec.name].astype(np.float64)
        if found.shape != wanted.shape:
            print(f"{spec.name}: FAIL: shape {found.shape}, recorded {wanted.shape}")
            good = False
            continue
        difference = float(np.max(np.abs(found - wanted), initial=0.0))
        relative = difference / max(float(np.max(np.abs(wanted), initial=0.0)), 1e-30)
        agrees = relative <= limit  # false for nan
        good = good and agrees
        print(
            f"{spec.name}: {'ok' if agrees else 'FAIL'}: max difference from {_REFERENCE} "
            f"{difference:.3g}, relative {relative:.3g} (tolerance {limit:g})"
        )
    return good


if __name__ == "__main__":
    sys.exit(main())
