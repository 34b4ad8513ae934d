"""Arrays of other frameworks, given to a kernel and made of its results."""

import importlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cuda.references import Case, difference, expected, inputs

__all__ = ["errors"]

_WAYS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "numpy": (lambda xp, array: array, lambda xp, result: result),
    "cupy": (lambda xp, a: xp.asarray(a), lambda xp, result: xp.from_dlpack(result).get()),
    "jax.numpy": (lambda xp, a: xp.asarray(a), lambda xp, result: xp.from_dlpack(result)),
}
"""How arrays get to a framework, and results to the host."""


def errors(case: Case, executable: Any) -> dict[str, float | str]:
    """The error of a small call by framework, of those that are there, or what went wrong."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # all of the GPU's memory
    arrays = [
        a if a.dtype == np.int32 else a.astype(np.float16) for a in inputs(case, case["small"])
    ]
    wide = [a if a.dtype == np.int32 else a.astype(np.float32) for a in arrays]
    wanted = expected(case, wide, np)
    found: dict[str, float | str] = {}
    for name, (to, back) in _WAYS.items():
        try:
            xp = importlib.import_module(name)
        except ImportError:
            continue
        try:
            result = np.asarray(back(xp, executable(*(to(xp, array) for array in arrays))))
            found[name] = difference(result.astype(np.float32), wanted, np)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found
