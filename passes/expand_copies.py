"""`rlx-expand-copies`: strided copies as loops."""

from dataclasses import dataclass

from rlx.host import ir, linalg
from rlx.passes.base import Pass, walk

__all__ = ["ExpandCopies"]


@dataclass(frozen=True)
class ExpandCopies(Pass):
    """Turns `memref.copy` between buffers that are not contiguous into `linalg.copy`.

    Left alone, they would become calls of a library of MLIR's that compiled code does not link.
    """

    name = "rlx-expand-copies"

    def run(self, op: ir.Operation) -> None:
        for copy in walk(op, "memref.copy"):
            source, target = copy.operation.operands
            ranked = all(isinstance(value.type, ir.MemRefType) for value in (source, target))
            if not ranked or all(_is_contiguous(value.type) for value in (source, target)):
                continue
            with ir.InsertionPoint(copy), copy.location:
                linalg.copy(source, outs=[target])
            copy.operation.erase()


def _is_contiguous(type_: ir.MemRefType) -> bool:
    return type_.affine_map == ir.AffineMap.get_identity(type_.rank, type_.context)
