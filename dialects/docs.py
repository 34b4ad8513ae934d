"""The reference manual of the dialect, generated from the declarations of the ops."""

import inspect
import textwrap
from collections.abc import Sequence

from rlx.dialects import op_classes
from rlx.dialects.base import Attr, Rlx, RlxOp
from rlx.host import irdl

__all__ = ["markdown", "op_markdown", "own_ops"]

_INTRODUCTION = """\
Ops print in MLIR's generic form. All of them are pure. Every op verifies what is said here, has a
NumPy reference (`Op.reference`), a builder function of its own name in `rlx.dialects.<op>`, and a
lowering to linalg on tensors (`convert-rlx-to-linalg`).

An optional attribute that is absent stands for its default. Floats are f16, bf16, f32 or f64, and
arithmetic is done in f32 (f64 for f64). Every size may be dynamic (`?`); sizes that must agree are
checked at run time where the types leave them open. Attributes of other dialects (`my.note`) may
be attached to any op; one without a dialect that an op does not declare is an error.
"""


def markdown(ops: Sequence[type[RlxOp]] | None = None) -> str:
    """The manual of the whole dialect.

    Args:
        ops: the ops to describe; by default every registered one, those of plugins included.
    """
    parts = [f"# The `{Rlx.DIALECT_NAMESPACE}` dialect", inspect.cleandoc(Rlx.__doc__ or "")]
    parts += [_INTRODUCTION.strip(), *map(op_markdown, op_classes() if ops is None else ops)]
    return "\n\n".join(parts) + "\n"


def op_markdown(cls: type[RlxOp]) -> str:
    """The section on one op."""
    parts = [f"## `{cls.OPERATION_NAME}`", inspect.cleandoc(cls.__doc__ or "")]
    if cls.EXAMPLE:
        parts.append(f"```mlir\n{textwrap.dedent(cls.EXAMPLE).strip()}\n```")
    kinds = {
        irdl.Variadicity.single: "",
        irdl.Variadicity.optional: " (optional)",
        irdl.Variadicity.variadic: " (any number)",
    }
    operands = ", ".join(f"`{f.name}`{kinds[f.variadicity]}" for f in cls.OPERANDS)
    parts.append(f"Operands: {operands}.")
    if cls.has_segments():
        parts.append(
            "`operandSegmentSizes` tells which operands are present, one `i32` (0 or 1) each."
        )
    if cls.ATTRS:
        rows = ["| attribute | kind | default | meaning |", "|---|---|---|---|"]
        rows += [_row(attr) for attr in cls.ATTRS.values()]
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _row(attr: Attr) -> str:
    kind = {bool: "bool", int: "i64", float: "f64", str: "string"}[attr.kind]
    if attr.choices:
        kind = ", ".join(f'`"{choice}"`' for choice in attr.choices)
    return f"| `{attr.name}` | {kind} | {_default(attr)} | {attr.doc} |"


def _default(attr: Attr) -> str:
    if attr.required:
        return "required"
    if attr.default_text:
        return attr.default_text
    if callable(attr.default):
        return "computed"
    if attr.default is None:
        return "none"
    if attr.kind is str:
        return f'`"{attr.default}"`'
    return f"`{str(attr.default).lower()}`"


def own_ops() -> list[type[RlxOp]]:
    """The ops that rlx itself defines: those that docs/Dialect.md describes."""
    return [cls for cls in op_classes() if cls.__module__.startswith("rlx.dialects.")]


if __name__ == "__main__":
    # python -m rlx.dialects.docs > docs/Dialect.md
    print(markdown(own_ops()), end="")
