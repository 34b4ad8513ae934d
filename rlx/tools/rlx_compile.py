"""`rlx-compile`: compiles a checkpoint or an .mlir file and writes the code."""

import argparse
import sys
from pathlib import Path
from typing import Any

from rlx.tools.progress import Progress

__all__ = ["main"]

_EPILOG = """
examples:
  rlx-compile model.mlir --target=cuda:sm_90a -o out              PTX and a manifest
  rlx-compile model.mlir --target=cuda:sm_90a --emit=cubin -o out machine code as well, by ptxas
  rlx-compile model.mlir --target=cpu -o out                      an object file and a manifest

What is written for a GPU is loaded by rlx.runtime.cuda.load(DIR), which needs NumPy and
cuda-bindings only. ptxas is looked for on PATH, in CUDA_HOME, and in the package nvidia-cuda-nvcc.
"""

_DEFAULT = {"cuda": "ptx", "cpu": "object"}
_EMITTED = {"cuda": ("ptx", "cubin"), "cpu": ("object",)}


class UsageError(ValueError):
    """The arguments do not fit together."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    args = _parser().parse_args(argv)
    progress = Progress()
    try:
        from rlx.diagnostics import CompileError
        from rlx.pipeline import PipelineError
        from rlx.targets.cuda_tools import AssemblyError

        known = (CompileError, PipelineError, AssemblyError, ImportError)
    except ImportError as error:
        print(f"rlx-compile: error: {error}", file=sys.stderr)
        return 1
    try:
        for path in _compile(args, progress):
            print(path)
        return 0
    except (*known, ValueError, TypeError, OSError) as error:
        progress.done()
        print(f"rlx-compile: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.done()
        return 130


def _parser() -> argparse.ArgumentParser:
    import rlx

    parser = argparse.ArgumentParser(
        prog="rlx-compile",
        description="Compiles a model and writes the code: a checkpoint in Hugging Face layout, or "
        "MLIR.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", metavar="MODEL_DIR|FILE.mlir|-", help="what to compile; - reads MLIR from stdin")
    add("--version", action="version", version=f"rlx {rlx.__version__}")
    add("--target", default="cpu", help="what to compile for, as in cuda:sm_90a")
    add("--emit", metavar="ptx|cubin|object", help="what to write (default: ptx, or object)")
    add("-o", "--output", metavar="DIR", default=".", help="where to (default: here)")
    add(
        "--entry",
        metavar="NAME",
        help="the function to compile (default: the only public one, or main)",
    )
    add("--dtype", metavar="f32|bf16|f16", help="of a checkpoint: what to compute in")
    add("--quantize", metavar="int8", help="store weights as int8, or int8{group=64}")
    add("--no-cache", action="store_true", help="compile even what was compiled before")
    return parser


def _compile(args: argparse.Namespace, progress: Progress) -> list[Path]:
    """The files that were written."""
    import rlx
    from rlx import targets

    target = targets.get(args.target)
    emit = args.emit or _DEFAULT[target.name]
    if emit not in _EMITTED[target.name]:
        raise UsageError(
            f"--emit={emit}: expected {' or '.join(_EMITTED[target.name])} for target "
            f"'{target.name}'"
        )
    program = rlx.compile(
        _source(args),
        target,
        args.entry,
        quantize=args.quantize,
        cache=not args.no_cache,
        progress=progress,
    ).program
    progress.done()
    folder = Path(args.output)
    if target.name == "cuda":
        from rlx.runtime.cuda import save
        from rlx.targets.cuda_tools import assemble

        cubin = None
        if emit == "cubin":
            cubin = assemble(program.object_code.decode(), target.arch).cubin  # type: ignore[attr-defined]
        return save(program, folder, cubin)
    folder.mkdir(parents=True, exist_ok=True)
    files = {"manifest.json": program.manifest(indent=1).encode(), "code.o": program.object_code}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def _source(args: argparse.Namespace) -> Any:
    path = Path(args.source)
    if args.source != "-" and path.is_dir():
        from rlx.models import load_model

        return load_model(path, args.target, args.dtype).built.module
    if args.dtype:
        raise UsageError("--dtype is for checkpoints")
    if args.source == "-":
        return sys.stdin.read() + "\n"
    if not path.is_file():
        raise UsageError(f"no such file or directory: {path}")
    return path


if __name__ == "__main__":
    sys.exit(main())
