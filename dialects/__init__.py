"""The `rlx` dialect: one file per op, and :func:`load_dialects`."""

import inspect
import sys
import threading

from rlx import registry
from rlx.dialects.base import NAMESPACE, Rlx, RlxOp
from rlx.host import PREFIX, ir

__all__ = ["load_dialects", "op_classes"]

_lock = threading.Lock()

# The host looks for a module of the dialect's name whenever it wraps an op, until it finds one:
# a failing search per op would take most of the time of a pass.
sys.modules.setdefault(f"{PREFIX}.dialects.{NAMESPACE}", sys.modules[__name__])


def op_classes() -> list[type[RlxOp]]:
    """Every op of the dialect, plugins included, in order of registration."""
    modules = registry.op_modules()
    for module in modules:
        registry.import_target(module)
    place = {module: number for number, module in enumerate(modules)}
    # The host emits them in this order, so that it must not depend on who imported what first.
    Rlx.operations.sort(key=lambda cls: place.get(cls.__module__, len(place)))
    return list(Rlx.operations)


def load_dialects(context: ir.Context | None = None) -> None:
    """Makes the `rlx` dialect known to ``context`` (default: the current one). Idempotent.

    The context may belong to someone else. Two things happen to it: the dialect is added, and
    multi-threading is turned off, since MLIR's worker threads would wait forever for verifiers that
    are written in Python. It must stay off. Separate threads need separate contexts.

    A dialect cannot grow once a context knows it: packages that add ops must have registered them
    (see :mod:`rlx.registry`) before the context is loaded.

    Raises:
        ValueError: there is no current context.
        RuntimeError: the context was loaded before some op was registered.
    """
    context = context or ir.Context.current
    if context is None:
        raise ValueError("expected a context, but got none, and no context is current")
    with _lock:
        context.enable_multithreading(False)
        names = [cls.OPERATION_NAME for cls in op_classes()]
        missing = [name for name in names if not context.is_registered_operation(name)]
        if not missing:
            return
        if len(missing) < len(names):
            raise RuntimeError(
                f"the context already holds the rlx dialect without {', '.join(missing)}: "
                "register ops before the first load_dialects on a context"
            )
        with context, ir.Location.unknown():
            # LLVM 23 keeps the first context's definitions unless told to reload.
            needs_reload = "reload" in inspect.signature(Rlx.load).parameters
            Rlx.load(**({"reload": True} if needs_reload else {}))
        # The host would keep this context alive until the next one is loaded.
        del Rlx._mlir_module
