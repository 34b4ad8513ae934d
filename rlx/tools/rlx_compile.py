"""`rlx-compile`: compiles a checkpoint or an .mlir file and writes the code."""

import argparse
import sys
from pathlib import Path

from rlx.tools.command import UsageError, add_compilation, execute, read_mlir, read_model
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


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    args = _parser().parse_args(argv)

    def work(progress: Progress) -> int:
        for path in _compile(args, progress):
            print(path)
        return 0

    return execute("rlx-compile", work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlx-compile",
        description="Compiles a model and writes the code: a checkpoint in Hugging Face layout, or "
        "MLIR.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_compilation(parser, "compile")
    add = parser.add_argument
    add("--emit", metavar="ptx|cubin|object", help="what to write (default: ptx for a GPU)")
    add("-o", "--output", metavar="DIR", default=".", help="where to (default: here)")
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
    model = read_model(args)
    program = rlx.compile(
        model[0].module if model else read_mlir(args),
        target,
        args.entry,
        quantize=args.quantize,
        threads=args.threads,
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


if __name__ == "__main__":
    sys.exit(main())
