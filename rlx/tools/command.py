"""What the commands that compile a checkpoint or MLIR have in common."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlx.tools.progress import Progress

if TYPE_CHECKING:
    from rlx.flow import BuiltModel

__all__ = [
    "UsageError",
    "add_compilation",
    "add_target",
    "execute",
    "read_mlir",
    "read_model",
]


class UsageError(ValueError):
    """The arguments do not fit together, or do not fit the model."""


def execute(command: str, work: Callable[[Progress], int]) -> int:
    """Does the work of a command, and returns the exit code.

    What may go wrong outside of rlx ends in one line on stderr.

    Args:
        command: its name, for messages.
        work: returns the exit code.
    """
    progress = Progress()
    try:
        from rlx.diagnostics import CompileError
        from rlx.registry import PluginError
        from rlx.runtime import ExecutionError, LoadError
        from rlx.targets.cuda_tools import AssemblyError

        known = (CompileError, PluginError, ExecutionError, LoadError, AssemblyError)
    except ImportError as error:  # there is no usable MLIR
        return _fail(command, progress, error)
    try:
        code = work(progress)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever reads the output has seen enough; nothing is left to say at exit.
        progress.done()
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (*known, ImportError, ValueError, TypeError, OSError) as error:
        return _fail(command, progress, error)
    except KeyboardInterrupt:
        progress.done()
        return 130


def _fail(command: str, progress: Progress, error: Exception) -> int:
    progress.done()
    print(f"{command}: error: {error}", file=sys.stderr)
    return 1


def add_compilation(parser: argparse.ArgumentParser, verb: str) -> None:
    """Adds the arguments that say what to compile, and how; ``verb`` is for the help."""
    import rlx

    add = parser.add_argument
    add("source", metavar="MODEL_DIR|FILE.mlir|-", help=f"what to {verb}; - reads MLIR from stdin")
    add("--version", action="version", version=f"rlx {rlx.__version__}")
    add_target(parser, "cpu{opt-level=2}, cuda:sm_90a")
    add(
        "--entry",
        metavar="NAME",
        help=f"the function to {verb} (default: the only public one, or main)",
    )
    add("--dtype", metavar="f32|bf16|f16", help="of a checkpoint: what to compute in")
    add("--quantize", metavar="int8", help="store weights as int8, or int8{group=64}")
    add("--no-cache", action="store_true", help="compile even what was compiled before")


def add_target(parser: argparse.ArgumentParser, examples: str) -> None:
    """Adds the arguments that say what to compile for."""
    add = parser.add_argument
    add("--target", default="cpu", help=f"what to compile for, as in {examples} (default: cpu)")
    add("--threads", type=int, metavar="N", help="how many to use (default: what the target says)")


def read_model(args: argparse.Namespace) -> "tuple[BuiltModel, int] | None":
    """The checkpoint that the arguments name, and its vocabulary's size; None if it is MLIR."""
    path = Path(args.source)
    if args.source == "-" or not path.is_dir():
        return None
    from rlx.models import load_model

    model = load_model(path, args.target, args.dtype)
    return model.built, model.config.vocab_size


def read_mlir(args: argparse.Namespace) -> Any:
    """The MLIR that the arguments name, as :func:`rlx.compile` takes it.

    Raises:
        UsageError: there is none, or the arguments are those for a checkpoint.
    """
    if args.dtype:
        raise UsageError("--dtype is for checkpoints")
    if args.source == "-":
        return sys.stdin.read() + "\n"
    path = Path(args.source)
    if not path.is_file():
        raise UsageError(f"no such file or directory: {path}")
    return path
