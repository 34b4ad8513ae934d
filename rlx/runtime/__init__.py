"""Arrays in and out of compiled code. Nothing here imports MLIR or the compiler."""

from rlx.runtime.errors import ArgumentError, ExecutionError, LoadError
from rlx.runtime.executable import Executable
from rlx.runtime.program import Program, Spec

__all__ = ["ArgumentError", "Executable", "ExecutionError", "LoadError", "Program", "Spec"]
