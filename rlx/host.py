"""The one door to the MLIR Python bindings.

Nothing else in rlx imports bindings. Two distributions of the same upstream package are supported:

* ``mlir``       -- ``mlir-python-bindings`` >= 23.1;
* ``torch_mlir`` -- the ``torch-mlir`` wheel.

``RLX_MLIR`` (an import prefix) forces the choice. Otherwise bindings that the process has already
loaded win, so that rlx shares contexts with the compiler that embeds it; otherwise the first
installed one of the two above is taken.

Modules are reached as attributes: ``from rlx.host import ir, arith, linalg``. Dialect modules are
imported on first use.
"""

import contextlib
import importlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlir import execution_engine, ir, passmanager, rewrite
    from mlir.dialects import (
        arith,
        bufferization,
        builtin,
        cf,
        ext,
        func,
        gpu,
        irdl,
        linalg,
        llvm,
        math,
        memref,
        nvgpu,
        nvvm,
        scf,
        tensor,
        ub,
        vector,
        x86,
    )

__all__ = [
    "PREFIX",
    "HostError",
    "arith",
    "bufferization",
    "builtin",
    "cf",
    "execution_engine",
    "ext",
    "func",
    "gpu",
    "interrupts_wait",
    "ir",
    "irdl",
    "linalg",
    "llvm",
    "math",
    "memref",
    "nvgpu",
    "nvvm",
    "passmanager",
    "rewrite",
    "scf",
    "tensor",
    "ub",
    "vector",
    "version",
    "x86",
]

_KNOWN = ("mlir", "torch_mlir")
_TOP_LEVEL = ("execution_engine", "ir", "passmanager", "rewrite")
_DISTRIBUTIONS = {"mlir": "mlir-python-bindings", "torch_mlir": "torch-mlir"}


class HostError(ImportError):
    """No usable MLIR bindings."""


def _has(prefix: str) -> bool:
    """Whether ``prefix`` holds real bindings: placeholder packages of these names exist."""
    try:
        return all(
            importlib.util.find_spec(f"{prefix}.{part}") is not None
            for part in ("ir", "dialects.ext")
        )
    except (ImportError, ValueError):
        return False


def _select() -> str:
    forced = os.environ.get("RLX_MLIR")
    if forced:
        if not _has(forced):
            raise HostError(
                f"RLX_MLIR={forced}: no MLIR Python bindings with `{forced}.ir` and "
                f"`{forced}.dialects.ext` are installed"
            )
        return forced
    loaded = [prefix for prefix in _KNOWN if f"{prefix}.ir" in sys.modules and _has(prefix)]
    installed = loaded or [prefix for prefix in _KNOWN if _has(prefix)]
    if not installed:
        raise HostError(
            "no MLIR Python bindings found: install torch-mlir, or mlir-python-bindings >= 23.1"
        )
    return installed[0]


PREFIX: str = _select()


def version() -> str:
    """The host's distribution and version, e.g. ``"torch-mlir 20261001"``."""
    from importlib import metadata

    distribution = _DISTRIBUTIONS.get(PREFIX, PREFIX)
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return distribution


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Holds Ctrl-C back until the block ends, for what must not be left halfway.

    Bindings that are half imported have registered their dialects, and never load again; and what
    MLIR calls back must not raise. A second Ctrl-C does not wait. Only the main thread is ever
    interrupted, and only by a handler of Python's.
    """
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    if not callable(handler):
        yield
        return
    waits: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        if waits:
            handler(number, frame)
        waits.append(number)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if len(waits) == 1:
            signal.raise_signal(signal.SIGINT)


def __getattr__(name: str):
    if name.startswith("_"):
        raise AttributeError(name)
    path = f"{PREFIX}.{name}" if name in _TOP_LEVEL else f"{PREFIX}.dialects.{name}"
    try:
        with interrupts_wait():
            module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise AttributeError(f"the MLIR host has no module {path}") from error
    globals()[name] = module
    return module
