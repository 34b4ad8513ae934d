"""Arrays in and out of compiled code. Nothing here imports MLIR or the compiler.

The names below are imported on first use: what runs on a GPU needs less than what runs on a CPU.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlx.runtime.errors import ArgumentError, ExecutionError, LoadError
    from rlx.runtime.executable import Executable
    from rlx.runtime.program import Program, Spec

__all__ = ["ArgumentError", "Executable", "ExecutionError", "LoadError", "Program", "Spec"]

_HOME = {
    "ArgumentError": "rlx.runtime.errors",
    "Executable": "rlx.runtime.executable",
    "ExecutionError": "rlx.runtime.errors",
    "LoadError": "rlx.runtime.errors",
    "Program": "rlx.runtime.program",
    "Spec": "rlx.runtime.program",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rlx.runtime' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)
