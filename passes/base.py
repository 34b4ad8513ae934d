"""What a pass is.

A pass is a frozen dataclass. Its fields, declared with :func:`rlx.options.option`, are its options;
its docstring is its documentation; ``run`` changes the operation it is given in place::

    @dataclass(frozen=True)
    class FuseGqa(Pass):
        \"\"\"Removes repeated key/value heads.\"\"\"

        name = "rlx-fuse-gqa"

        def run(self, op):
            ...

It fails by raising :class:`PassFailure`, or by emitting an error diagnostic. Register it in
:mod:`rlx.registry`, or from another package through the entry point group ``rlx.plugins``.
"""

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from rlx.diagnostics import PassFailure
from rlx.dialects.base import RlxOp
from rlx.host import ir

__all__ = ["Pass", "PassFailure", "Pipeline", "parent_of", "types_of", "types_within", "walk"]


@dataclass(frozen=True)
class Pass(abc.ABC):
    """Base of all passes."""

    name: ClassVar[str] = ""
    anchor: ClassVar[str | None] = None
    """The op the pass runs on, such as ``"func.func"``; None for any."""

    @abc.abstractmethod
    def run(self, op: ir.Operation) -> None:
        """Transforms ``op`` in place."""


@dataclass(frozen=True)
class Pipeline(abc.ABC):
    """A named pipeline: a frozen dataclass like a pass, that stands for pipeline text."""

    name: ClassVar[str] = ""

    @abc.abstractmethod
    def text(self) -> str:
        """The passes it stands for, as in ``"canonicalize,func.func(cse)"``; runs on a module."""


def walk(root: ir.Operation, *kinds: type[RlxOp] | str) -> Iterator[ir.OpView]:
    """Ops below ``root`` (post-order), of the given classes or names; all when none are given.

    The list is taken first, so the caller may change the IR while it iterates, as long as it does
    not erase ops that are still to come.
    """
    names = {kind if isinstance(kind, str) else kind.OPERATION_NAME for kind in kinds}
    found: list[ir.OpView] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if not names or op.name in names:
            found.append(op.opview)
        return ir.WalkResult.ADVANCE

    root.operation.walk(visit)
    yield from found


def types_of(op: ir.Operation) -> list[ir.Type]:
    """The types of the values that ``op`` makes: results, and arguments of its blocks."""
    found = [result.type for result in op.results]
    for region in op.regions:
        for block in region.blocks:
            found += [argument.type for argument in block.arguments]
    return found


def types_within(root: ir.Operation) -> set[ir.Type]:
    """The types of all values that ``root`` and ops below it make."""
    found: set[ir.Type] = set()

    def visit(op: ir.Operation) -> ir.WalkResult:
        found.update(types_of(op))
        return ir.WalkResult.ADVANCE

    root.operation.walk(visit)
    return found


def parent_of(op: ir.Operation | ir.OpView) -> ir.Operation | None:
    """The op that holds ``op``, or None; the bindings raise for one that nothing holds."""
    try:
        parent = op.operation.parent
    except ValueError:
        return None
    return None if parent is None else parent.operation
