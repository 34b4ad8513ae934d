"""`rlx-cuda-intrinsics`: math that is one or a few instructions of the GPU."""

from dataclasses import dataclass

from rlx.host import arith, ir, llvm
from rlx.passes.base import Pass, walk
from rlx.passes.lanes import constant, element

__all__ = ["Intrinsics"]

_SAME = {
    "arith.maxnumf": "llvm.maxnum",
    "arith.minnumf": "llvm.minnum",
    "math.absf": "llvm.fabs",
    "math.ceil": "llvm.ceil",
    "math.copysign": "llvm.copysign",
    "math.floor": "llvm.floor",
    "math.fma": "llvm.fma",
    "math.round": "llvm.round",
    "math.roundeven": "llvm.roundeven",
    "math.sqrt": "llvm.sqrt",
    "math.trunc": "llvm.trunc",
}
"""Ops that LLVM has an intrinsic for which needs no library on a GPU."""


@dataclass(frozen=True)
class Intrinsics(Pass):
    """Replaces math by intrinsics of LLVM that the GPU has instructions for.

    MLIR's own way down makes calls of CUDA's math library. Roots are rounded correctly, and so is
    1 / sqrt(x) but for a second rounding; 2^x in f32 is `ex2.approx`, within 2 ulp. What is left
    (logarithms, powers, trigonometry) is linked from the library where it is installed.
    """

    name = "rlx-cuda-intrinsics"

    def run(self, op: ir.Operation) -> None:
        for call in walk(op, *_SAME, "math.rsqrt", "math.exp2"):
            operation = call.operation
            type_ = operation.results[0].type
            with ir.InsertionPoint(operation), operation.location:
                if operation.name in _SAME:
                    value = _call(_SAME[operation.name], type_, *operation.operands)
                elif operation.name == "math.rsqrt":
                    root = _call("llvm.sqrt", type_, operation.operands[0])
                    value = arith.divf(constant(type_, 1.0), root)
                elif isinstance(type_, ir.F32Type):
                    value = _call("llvm.nvvm.ex2.approx.f", type_, operation.operands[0])
                else:
                    continue
            operation.results[0].replace_all_uses_with(value)
            operation.erase()


def _call(name: str, type_: ir.Type, *operands: ir.Value) -> ir.Value:
    if not isinstance(element(type_), ir.FloatType):
        raise TypeError(f"expected floats, got {type_}")
    op = llvm.CallIntrinsicOp(type_, ir.StringAttr.get(name), list(operands), [], [])
    return op.operation.results[0]
