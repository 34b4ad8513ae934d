"""`rlx-outline-kernels`: one function per distinct loop nest."""

from dataclasses import dataclass

from rlx.host import func, ir, memref
from rlx.options import option
from rlx.passes.base import Pass
from rlx.passes.clone import all_ops, clone

__all__ = ["OutlineKernels"]


@dataclass(frozen=True)
class OutlineKernels(Pass):
    """Moves every linalg op on buffers into a private function, equal ones into the same.

    The layers of a model consist of the same loop nests, which LLVM then compiles once; and it is
    spared functions of a size at which its algorithms slow down. Runs on buffers, before loops.
    """

    name = "rlx-outline-kernels"
    anchor = "builtin.module"

    vector_width: int = option(0, "bits that LLVM's vectoriser fills; 0 leaves it to LLVM")

    def run(self, op: ir.Operation) -> None:
        found: list[ir.Operation] = []

        def visit(inner: ir.Operation) -> ir.WalkResult:
            if not inner.name.startswith("linalg."):
                return ir.WalkResult.ADVANCE
            if not inner.results:  # on tensors it stays where it is
                found.append(inner)
            return ir.WalkResult.SKIP

        op.walk(visit, ir.WalkOrder.PRE_ORDER)
        kernels: dict[str, str] = {}
        for target in found:
            _outline(op, target, kernels, self.vector_width)


def _outline(
    module: ir.Operation, op: ir.Operation, kernels: dict[str, str], vector_width: int
) -> None:
    """Replaces ``op`` by a call; ``kernels`` maps the text of a function to its name."""
    values, constants = _captured(op)
    with op.context, op.location:
        type_ = ir.FunctionType.get([value.type for value in values], [])
        with ir.InsertionPoint.at_block_begin(module.regions[0].blocks[0]):
            function = func.FuncOp("rlx_kernel", type_, visibility="private")
        block = function.add_entry_block()
        with ir.InsertionPoint(block):
            mapping = dict(zip(values, block.arguments, strict=True))
            for value, other in _separate(op):
                found = [mapping[value], mapping[other]]
                distinct = memref.DistinctObjectsOp(found)
                mapping[value], mapping[other] = distinct.operation.results
            for constant in constants:
                clone(constant, mapping)
            clone(op, mapping)
            func.return_([])
        text = function.operation.get_asm(enable_debug_info=False, use_local_scope=True)
        if text in kernels:
            function.operation.erase()
        else:
            kernels[text] = f"rlx_kernel_{len(kernels)}"
            function.attributes["sym_name"] = ir.StringAttr.get(kernels[text])
            if vector_width:
                width = ir.StringAttr.get(str(vector_width))
                function.attributes["llvm.prefer_vector_width"] = width
            function.attributes["llvm.no_inline"] = ir.UnitAttr.get()
            function.attributes["llvm.linkage"] = ir.Attribute.parse("#llvm.linkage<internal>")
        with ir.InsertionPoint(op):
            func.CallOp([], ir.FlatSymbolRefAttr.get(kernels[text]), values)
    op.erase()


def _separate(op: ir.Operation) -> list[tuple[ir.Value, ir.Value]]:
    """Pairs of an output of ``op`` and another of its buffers that surely do not overlap."""
    outputs = _outputs(op)
    buffers = [value for value in op.operands if isinstance(value.type, ir.MemRefType)]
    roots = {value: _root(value) for value in buffers}
    pairs: dict[tuple[ir.Value, ir.Value], None] = {}
    for output in outputs:
        allocated = _is_made_by(roots[output], "memref.alloc")
        for other in buffers:
            root = roots[other]
            known = isinstance(root.owner, ir.Block) or _is_made_by(root, *_FRESH)
            if allocated and known and root != roots[output]:
                pairs[output, other] = None
    return list(pairs)


def _outputs(op: ir.Operation) -> list[ir.Value]:
    operands = list(op.operands)
    if "operandSegmentSizes" not in op.attributes:
        return operands[-1:]
    count = list(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"]))[-1]
    return operands[len(operands) - count :]


_FRESH = ("memref.alloc", "memref.get_global")
_VIEWS = ("memref.cast", "memref.collapse_shape", "memref.expand_shape", "memref.subview")


def _is_made_by(value: ir.Value, *names: str) -> bool:
    return not isinstance(value.owner, ir.Block) and value.owner.name in names


def _root(value: ir.Value) -> ir.Value:
    """The buffer that ``value`` looks at a part of."""
    while _is_made_by(value, *_VIEWS):
        value = value.owner.operation.operands[0]
    return value


def _captured(op: ir.Operation) -> tuple[list[ir.Value], list[ir.Operation]]:
    """What ``op`` and the ops inside it use from outside: values, and constants by their ops."""
    inside = [op, *all_ops(op)[:-1]]
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
