"""The `rlx` dialect: one file per op, and :func:`load_dialects`."""

import importlib
import inspect
import threading

from rlx import registry
from rlx.dialects.base import Rlx, RlxOp
from rlx.host import ir

__all__ = ["load_dialects", "op_classes"]

_lock = threading.Lock()


def op_classes() -> list[type[RlxOp]]:
    """Every op of the dialect, plugins included, in order of declaration."""
    for target in registry.op_modules():
        importlib.import_module(target)
    return list(Rlx.operations)


def load_dialects(context: ir.Context | None = None) -> None:
    """Makes the `rlx` dialect known to ``context`` (default: the current one). Idempotent.

    The context may belong to someone else; nothing but the dialect is added to it. Its thread pool
    is switched off: verifiers are Python, and MLIR's threads would wait for the interpreter lock
    while the thread that waits for them holds it.
    """
    context = context or ir.Context.current
    with _lock:
        marker = op_classes()[0].OPERATION_NAME
        if context.is_registered_operation(marker):
            return
        context.enable_multithreading(False)
        with context, ir.Location.unknown():
            # LLVM 23 keeps the first context's definitions unless told to reload.
            needs_reload = "reload" in inspect.signature(Rlx.load).parameters
            Rlx.load(**({"reload": True} if needs_reload else {}))
