"""Equal layers as one function that is called for each of them."""

import re
from collections.abc import Iterable, Iterator

from rlx.host import arith, func, ir

__all__ = ["Layers"]


class Layers:
    """The layers of a function that is built: where each begins and ends.

    A function's size then does not depend on how many layers it has, nor does the time to compile
    it. What a layer reads from outside, such as its parameters, becomes an argument, and what is
    read of it later a result.
    """

    def __init__(self) -> None:
        self._marks: list[tuple[str, ir.Operation]] = []

    def mark(self, name: str) -> None:
        """What is built from here on at the insertion point belongs to the layer ``name``.

        Args:
            name: the layer's name; "" for what belongs to none.
        """
        value = arith.constant(ir.IndexType.get(), 0)
        self._marks.append((name, value.owner.operation))

    def share(self, module: ir.Module, block: ir.Block) -> None:
        """Moves the layers in ``block``, which ends in a return, to functions of ``module``."""
        functions: dict[str, str] = {}
        for name, ops in self._take_apart(block):
            _outline(module, name, ops, functions)

    def _take_apart(self, block: ir.Block) -> list[tuple[str, list[ir.Operation]]]:
        """The ops of each layer, without the marks."""
        names = {mark: name for name, mark in self._marks}
        found: list[tuple[str, list[ir.Operation]]] = []
        current = ""
        for op in list(block.operations):
            operation = op.operation
            if operation in names:
                current = names[operation]
                if current:
                    found.append((current, []))
            elif current:
                found[-1][1].append(operation)
        for _, mark in self._marks:
            mark.erase()
        return [(name, ops) for name, ops in found if ops]


def _outline(
    module: ir.Module, name: str, ops: list[ir.Operation], functions: dict[str, str]
) -> None:
    """Replaces ``ops`` by a call; ``functions`` maps the text of a function to its name."""
    nested = list(_with_nested(ops))
    taken = _taken(nested)
    given = _given(ops, set(nested))
    with ir.Location.name(name):
        type_ = ir.FunctionType.get([v.type for v in taken], [v.type for v in given])
        with ir.InsertionPoint(module.body):
            function = func.FuncOp("layer", type_, visibility="private")
        body = function.add_entry_block()
        with ir.InsertionPoint(ops[0]):
            call = func.CallOp(list(type_.results), ir.FlatSymbolRefAttr.get("layer"), list(taken))
        for uses, result in zip(given.values(), call.operation.results, strict=True):
            for user, number in uses:
                user.operands[number] = result
        for op in ops:
            body.append(op)
        for uses, argument in zip(taken.values(), body.arguments, strict=True):
            for user, number in uses:
                user.operands[number] = argument
        with ir.InsertionPoint(body):
            func.ReturnOp(list(given))
    text = function.operation.get_asm(enable_debug_info=False, use_local_scope=True)
    if text in functions:
        function.operation.erase()
    else:
        functions[text] = re.sub(r"\W", "_", name)
        function.attributes["sym_name"] = ir.StringAttr.get(functions[text])
    call.operation.attributes["callee"] = ir.FlatSymbolRefAttr.get(functions[text])


Uses = dict[ir.Value, list[tuple[ir.Operation, int]]]


def _taken(ops: list[ir.Operation]) -> Uses:
    """What ``ops`` use from outside, in order, and where."""
    own: set[ir.Value] = set()
    for op in ops:
        own.update(op.results)
        for region in op.regions:
            for block in region.blocks:
                own.update(block.arguments)
    found: Uses = {}
    for op in ops:
        for number, operand in enumerate(op.operands):
            if operand not in own:
                found.setdefault(operand, []).append((op, number))
    return found


def _given(ops: list[ir.Operation], inside: set[ir.Operation]) -> Uses:
    """Results of ``ops`` that are used outside, and where."""
    found: Uses = {}
    for op in ops:
        for result in op.results:
            for use in result.uses:
                user = use.owner.operation
                if user not in inside:
                    found.setdefault(result, []).append((user, use.operand_number))
    return found


def _with_nested(ops: Iterable[ir.Operation]) -> Iterator[ir.Operation]:
    for op in ops:
        yield op
        for region in op.regions:
            for block in region.blocks:
                yield from _with_nested(inner.operation for inner in block.operations)
