"""`rlx-cuda-intrinsics`: math that is one or a few instructions of the GPU."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rlx.host import arith, ir, llvm, math
from rlx.passes import expand_math
from rlx.passes.base import Pass, walk
from rlx.passes.lanes import constant, element

__all__ = ["Intrinsics", "exp"]

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


_LN2 = 0.6931471805599453
_LOG2E, _LOG2E_REST = 1.4426950216293335, 1.9259629911266175e-08
"""log2(e) as an f32, and what is missing."""


@dataclass(frozen=True)
class Intrinsics(Pass):
    """Replaces math by intrinsics of LLVM that the GPU has instructions for.

    MLIR's own way down makes calls of CUDA's math library. Here, of f32:

    * 2^x is `ex2.approx`, within 2 ulp, and e^x as exact: what x * log2(e) loses is made up for;
    * tanh and erf are those of `rlx-expand-math`, with that exponential;
    * a division by something that is no constant is `div.full`, within 2 ulp.

    Square roots are rounded correctly, and so are divisions of f64. What is left (logarithms,
    powers, trigonometry, and all of it in f64) is linked from the library where it is installed.
    """

    name = "rlx-cuda-intrinsics"

    def run(self, op: ir.Operation) -> None:
        for call in walk(op, *_EXPANDED):
            if _is_f32(call):
                _replace(call, _EXPANDED[call.operation.name])
        for call in walk(op, "math.exp2", "math.rsqrt", "arith.divf", *_SAME):
            name = call.operation.name
            if name in _SAME:
                _replace(call, _same(_SAME[name]))
            elif name == "math.rsqrt":
                _replace(call, _rsqrt)
            elif _is_f32(call) and name == "math.exp2":
                _replace(call, _same("llvm.nvvm.ex2.approx"))
            elif _is_f32(call) and not _is_constant(call.operation.operands[1]):
                _replace(call, _same("llvm.nvvm.div.full"))


def _replace(call: ir.OpView, emit: Callable[..., ir.Value]) -> None:
    operation = call.operation
    with ir.InsertionPoint(operation), operation.location:
        value = emit(*operation.operands)
    operation.results[0].replace_all_uses_with(value)
    operation.erase()


def _is_f32(call: ir.OpView) -> bool:
    return isinstance(call.operation.results[0].type, ir.F32Type)


def _is_constant(value: ir.Value) -> bool:
    return not isinstance(value.owner, ir.Block) and value.owner.name == "arith.constant"


def _same(name: str) -> Callable[..., ir.Value]:
    return lambda *operands: _call(name, operands[0].type, *operands)


def _rsqrt(x: ir.Value) -> ir.Value:
    return arith.divf(constant(x.type, 1.0), _call("llvm.sqrt", x.type, x))


def exp(x: ir.Value) -> ir.Value:
    """e^x of an f32."""

    def c(value: float) -> ir.Value:
        return constant(x.type, value)

    power = arith.mulf(x, c(_LOG2E))
    lost = math.fma(x, c(_LOG2E), arith.negf(power))
    lost = math.fma(x, c(_LOG2E_REST), lost)
    y = math.exp2(power)
    step = arith.mulf(y, lost)
    # Infinite and undefined where y is zero or infinite already.
    good = arith.cmpf(arith.CmpFPredicate.OLT, math.absf(step), c(float("inf")))
    return arith.select(good, math.fma(step, c(_LN2), y), y)


_EXPANDED: dict[str, Callable[..., ir.Value]] = {
    "math.exp": exp,
    "math.tanh": partial(expand_math.tanh, exp=exp),
    "math.erf": partial(expand_math.erf, exp=exp),
}


def _call(name: str, type_: ir.Type, *operands: ir.Value) -> ir.Value:
    if not isinstance(element(type_), ir.FloatType):
        raise TypeError(f"expected floats, got {type_}")
    op = llvm.CallIntrinsicOp(type_, ir.StringAttr.get(name), list(operands), [], [])
    return op.operation.results[0]
