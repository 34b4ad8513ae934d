"""`rlx-return-donated`: results that are a caller's own buffer."""

from dataclasses import dataclass

from rlx.host import func, ir
from rlx.passes.base import Pass, walk
from rlx.passes.export import DONATED
from rlx.passes.functions import attributes_of, functions, is_public, set_attributes

__all__ = ["ALIASES", "ReturnDonated", "aliases_of"]

ALIASES = "rlx.aliases"
"""Function attribute: for each original result the argument whose buffer it is, or -1."""


@dataclass(frozen=True)
class ReturnDonated(Pass):
    """Removes results of public functions that are a whole argument updated in place.

    Returned as results they would be copied, since a caller owns what it gets. The caller finds
    them in the buffers that it gave; `rlx.aliases` says in which. Runs after bufferization and
    before deallocation.
    """

    name = "rlx-return-donated"
    anchor = "builtin.module"

    def run(self, op: ir.Operation) -> None:
        called = {str(call.operation.attributes["callee"]) for call in walk(op, "func.call")}
        for function in functions(op):
            symbol = ir.FlatSymbolRefAttr.get(ir.StringAttr(function.name).value, op.context)
            if is_public(function) and not function.is_external and str(symbol) not in called:
                _shorten(function)


def aliases_of(function: func.FuncOp, results: int) -> list[int | None]:
    """For each of so many original results the number of the argument that it is, or None."""
    if ALIASES not in function.attributes:
        return [None] * results
    numbers = list(ir.DenseI64ArrayAttr(function.attributes[ALIASES]))
    return [None if number < 0 else number for number in numbers]


def _shorten(function: func.FuncOp) -> None:
    blocks = list(function.operation.regions[0].blocks)
    if len(blocks) != 1:
        return
    block, end = blocks[0], list(blocks[0].operations)[-1].operation
    writable = {
        number
        for number, fields in enumerate(attributes_of(function, "arg_attrs"))
        if DONATED in fields
    }
    arguments = list(block.arguments)
    aliases = [_argument(value, arguments, writable) for value in end.operands]
    kept = [at for at, alias in enumerate(aliases) if alias < 0]
    if len(kept) == len(aliases):
        return
    with function.operation.context:
        with ir.InsertionPoint(end), end.location:
            func.return_([end.operands[at] for at in kept])
        end.erase()
        type_ = function.type
        new = ir.FunctionType.get(type_.inputs, [type_.results[at] for at in kept])
        results = attributes_of(function, "res_attrs")
        function.attributes["function_type"] = ir.TypeAttr.get(new)
        if "res_attrs" in function.attributes:
            set_attributes(function, "res_attrs", [results[at] for at in kept])
        function.attributes[ALIASES] = ir.DenseI64ArrayAttr.get(aliases)


def _argument(value: ir.Value, arguments: list[ir.Value], writable: set[int]) -> int:
    """The number of the writable argument that ``value`` is, or -1."""
    while value not in arguments:
        owner = value.owner
        if isinstance(owner, ir.Block) or owner.operation.name != "memref.cast":
            return -1
        value = owner.operation.operands[0]
    number = arguments.index(value)
    return number if number in writable else -1
