"""What can be compiled. Nothing here imports the bindings."""

import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlx import host
from rlx.diagnostics import CompileError
from rlx.steps import Steps

__all__ = ["Source", "open_source"]

Content = str | bytes


@dataclass(frozen=True)
class Source:
    """MLIR as text or bytecode.

    Attributes:
        name: what to call it in messages.
        identity: sources with equal identities compile to the same code.
        read: gives the text or bytecode, with locations.
        unregistered: whether it may hold unregistered ops.
        parameters: arrays by name, where the source has them with it.
    """

    name: str
    identity: Content
    read: Callable[[], Content]
    unregistered: bool = False
    parameters: dict[str, Any] | None = None


def open_source(source: Any, weights: Any, steps: Steps) -> Source:
    """Looks at what :func:`rlx.compile` has been given.

    Raises:
        CompileError: a file cannot be read.
        TypeError: the source is nothing that can be compiled.
    """
    parameters: dict[str, Any] | None = None
    if hasattr(source, "build"):
        steps.begin("build")
        source = source.build({} if weights is None else weights)
    elif weights is not None:
        raise TypeError("weights are for a ModelFlow; bind the parameters of a compiled function")
    if hasattr(source, "module") and hasattr(source, "parameters"):
        parameters = dict(source.parameters)
        source = source.module
    steps.begin("read")
    if isinstance(source, str | Path):
        name, content = _text(source)
        return Source(name, content, lambda: content, parameters=parameters)
    if hasattr(source, "operation") and hasattr(source, "body"):
        operation = source.operation
        identity = operation.get_asm(enable_debug_info=False)
        if _is_own(source):
            unregistered = source.context.allow_unregistered_dialects
            return Source(
                "the module", identity, lambda: _bytecode(operation), unregistered, parameters
            )
        # A module of other bindings in the same process.
        return Source(
            "the module",
            identity,
            lambda: operation.get_asm(enable_debug_info=True),
            parameters=parameters,
        )
    raise TypeError(
        "expected MLIR text, a path, an ir.Module, a ModelFlow or a BuiltModel, "
        f"but got {type(source).__name__}"
    )


def _text(source: str | Path) -> tuple[str, Content]:
    """The name and the content of a file, or of text itself."""
    if isinstance(source, str) and (
        "\n" in source or not (source.endswith((".mlir", ".mlirbc")) or os.path.isfile(source))
    ):
        return "the source", source
    try:
        content = Path(source).read_bytes()
    except OSError as error:
        raise CompileError(f"cannot read {source}: {error.strerror}") from None
    if content.startswith(b"ML\xefR"):
        return str(source), content
    try:
        return str(source), content.decode()
    except UnicodeDecodeError:
        raise CompileError(f"{source} is neither MLIR text nor bytecode") from None


def _is_own(source: Any) -> bool:
    """Whether a module is one of the host that rlx uses."""
    ir = sys.modules.get(f"{host.PREFIX}.ir")
    return ir is not None and isinstance(source, ir.Module)


def _bytecode(operation: Any) -> bytes:
    buffer = io.BytesIO()
    operation.write_bytecode(buffer)
    return buffer.getvalue()
