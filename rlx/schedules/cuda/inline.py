"""Calls replaced by what they call. MLIR's own pass leaves ops alone that it knows nothing of."""

from rlx.diagnostics import PassFailure
from rlx.host import func, ir
from rlx.passes.clone import clone
from rlx.passes.functions import functions, is_public

__all__ = ["inline_calls"]

_CALL = "func.call"


def inline_calls(module: ir.Operation) -> None:
    """Inlines all calls in public functions, and erases the private ones.

    Raises:
        PassFailure: a function calls itself, or has several blocks or no body.
    """
    known = {ir.StringAttr(f.name).value: f for f in functions(module)}
    done: set[str] = set()

    def visit(name: str, callers: tuple[str, ...]) -> None:
        if name in done:
            return
        for call in _calls(known[name]):
            callee = ir.FlatSymbolRefAttr(call.attributes["callee"]).value
            if callee not in known or callee in (*callers, name):
                raise PassFailure(call, f"cannot inline the call of '{callee}'")
            visit(callee, (*callers, name))
            _inline(call, known[callee])
        done.add(name)

    for name, function in known.items():
        if is_public(function) and not function.is_external:
            visit(name, ())
    for function in known.values():
        if not is_public(function):
            function.operation.erase()


def _calls(function: func.FuncOp) -> list[ir.Operation]:
    blocks = list(function.operation.regions[0].blocks)
    if len(blocks) != 1:
        raise PassFailure(function, f"expected one block, but got {len(blocks)}")
    return [op.operation for op in blocks[0].operations if op.operation.name == _CALL]


def _inline(call: ir.Operation, callee: func.FuncOp) -> None:
    (block,) = callee.operation.regions[0].blocks
    mapping = dict(zip(block.arguments, call.operands, strict=True))
    *ops, end = [op.operation for op in block.operations]
    with ir.InsertionPoint(call):
        for op in ops:
            clone(op, mapping)
    for result, value in zip(call.results, end.operands, strict=True):
        result.replace_all_uses_with(mapping.get(value, value))
    call.erase()
