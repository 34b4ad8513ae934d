"""rlx: an MLIR compiler for transformer blocks.

The names below are imported on first use, since the MLIR bindings take a moment to load.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlx.compiler import compile, lower
    from rlx.dialects import load_dialects
    from rlx.models import load_model
    from rlx.pipeline import run_pipeline
    from rlx.text import generate

__version__ = "0.1.0"
__all__ = ["compile", "generate", "load_dialects", "load_model", "lower", "run_pipeline"]

_HOME = {
    "compile": "rlx.compiler",
    "generate": "rlx.text",
    "load_dialects": "rlx.dialects",
    "load_model": "rlx.models",
    "lower": "rlx.compiler",
    "run_pipeline": "rlx.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rlx' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)
