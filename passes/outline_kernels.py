"""`rlx-outline-kernels`: one function per distinct loop nest."""

from dataclasses import dataclass

from rlx.host import func, ir
from rlx.passes.base import Pass, walk

__all__ = ["OutlineKernels"]


@dataclass(frozen=True)
class OutlineKernels(Pass):
    """Moves every linalg op on buffers into a private function, equal ones into the same.

    The layers of a model consist of the same loop nests, which LLVM then compiles once; and it is
    spared functions of a size at which its algorithms slow down. Runs on buffers, before loops.
    """

    name = "rlx-outline-kernels"
    anchor = "builtin.module"

    def run(self, op: ir.Operation) -> None:
        found: list[ir.Operation] = []

        def visit(inner: ir.Operation) -> ir.WalkResult:
            if not inner.name.startswith("linalg."):
                return ir.WalkResult.ADVANCE
            found.append(inner)
            return ir.WalkResult.SKIP

        op.walk(visit, ir.WalkOrder.PRE_ORDER)
        kernels: dict[str, str] = {}
        for target in found:
            _outline(op, target, kernels)


def _outline(module: ir.Operation, op: ir.Operation, kernels: dict[str, str]) -> None:
    """Replaces ``op`` by a call; ``kernels`` maps the text of a function to its name."""
    values, constants = _captured(op)
    with op.context, op.location:
        type_ = ir.FunctionType.get([value.type for value in values], [])
        with ir.InsertionPoint.at_block_begin(module.regions[0].blocks[0]):
            function = func.FuncOp("rlx_kernel", type_, visibility="private")
        block = function.add_entry_block()
        with ir.InsertionPoint(block):
            mapping = dict(zip(values, block.arguments, strict=True))
            for constant in constants:
                mapping[constant.results[0]] = constant.clone().results[0]
            for user in _all(op.clone().operation):
                for at, value in enumerate(user.operands):
                    if value in mapping:
                        user.operands[at] = mapping[value]
            func.return_([])
        text = function.operation.get_asm(enable_debug_info=False, use_local_scope=True)
        if text in kernels:
            function.operation.erase()
        else:
            kernels[text] = f"rlx_kernel_{len(kernels)}"
            function.attributes["sym_name"] = ir.StringAttr.get(kernels[text])
            function.attributes["llvm.no_inline"] = ir.UnitAttr.get()
            function.attributes["llvm.linkage"] = ir.Attribute.parse("#llvm.linkage<internal>")
        with ir.InsertionPoint(op):
            func.CallOp([], ir.FlatSymbolRefAttr.get(kernels[text]), values)
    op.erase()


def _captured(op: ir.Operation) -> tuple[list[ir.Value], list[ir.Operation]]:
    """What ``op`` and the ops inside it use from outside: values, and constants by their ops."""
    inside = _all(op)
    own = {result for inner in inside for result in inner.results}
    for inner in inside:
        for region in inner.regions:
            for block in region.blocks:
                own.update(block.arguments)
    values: dict[ir.Value, None] = {}
    constants: dict[ir.Operation, None] = {}
    for inner in inside:
        for value in inner.operands:
            if value in own:
                continue
            if not isinstance(value.owner, ir.Block) and value.owner.name == "arith.constant":
                constants[value.owner.operation] = None
            else:
                values[value] = None
    return list(values), list(constants)


def _all(op: ir.Operation) -> list[ir.Operation]:
    return [inner.operation for inner in walk(op)]
