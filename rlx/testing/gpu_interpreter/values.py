"""Ops without memory: arithmetic, vectors, casts."""

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from rlx.host import ir
from rlx.testing.gpu_interpreter.program import (
    HANDLERS,
    Compiler,
    Step,
    attribute,
    dtype_of,
    handles,
)
from rlx.testing.gpu_interpreter.threads import Threads

_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def _unsigned(x: np.ndarray) -> np.ndarray:
    return x.view(_UNSIGNED[x.itemsize]) if x.dtype != np.bool_ else x


def _like(x: np.ndarray, value: np.ndarray) -> np.ndarray:
    return value.astype(x.dtype) if x.dtype != np.bool_ else value.astype(np.bool_)


def _by_unsigned(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b: _like(a, fn(_unsigned(a), _unsigned(b)))


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rounds to zero; whatever for inactive threads that divide by zero."""
    safe = np.where(b == 0, 1, b)
    return (np.sign(a) * np.sign(safe) * (abs(a) // abs(safe))).astype(a.dtype)


def _nonzero(b: np.ndarray) -> np.ndarray:
    return np.where(b == 0, 1, b).astype(b.dtype)


def _fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return (a.astype(np.float64) * b + c).astype(a.dtype)


def _wide(fn: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: fn(x.astype(np.float64)).astype(x.dtype)


_ERF = np.vectorize(math.erf, otypes=[np.float64])


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "arith.addi": np.add,
    "arith.subi": np.subtract,
    "arith.muli": np.multiply,
    "arith.andi": np.bitwise_and,
    "arith.ori": np.bitwise_or,
    "arith.xori": np.bitwise_xor,
    "arith.shli": np.left_shift,
    "arith.shrsi": np.right_shift,
    "arith.shrui": _by_unsigned(np.right_shift),
    "arith.divsi": _divide,
    "arith.remsi": lambda a, b: (a - _divide(a, b) * b).astype(a.dtype),
    "arith.divui": _by_unsigned(lambda a, b: a // _nonzero(b)),
    "arith.remui": _by_unsigned(lambda a, b: a % _nonzero(b)),
    "arith.ceildivui": _by_unsigned(lambda a, b: (a + _nonzero(b) - 1) // _nonzero(b)),
    "arith.ceildivsi": lambda a, b: -((-a) // _nonzero(b)),
    "arith.floordivsi": lambda a, b: a // _nonzero(b),
    "arith.minsi": np.minimum,
    "arith.maxsi": np.maximum,
    "arith.minui": _by_unsigned(np.minimum),
    "arith.maxui": _by_unsigned(np.maximum),
    "arith.addf": np.add,
    "arith.subf": np.subtract,
    "arith.mulf": np.multiply,
    "arith.divf": np.divide,
    "arith.remf": np.fmod,
    "arith.negf": np.negative,
    "arith.maximumf": np.maximum,
    "arith.minimumf": np.minimum,
    "arith.maxnumf": np.fmax,
    "arith.minnumf": np.fmin,
    "llvm.intr.maxnum": np.fmax,
    "llvm.intr.minnum": np.fmin,
    "llvm.intr.maximum": np.maximum,
    "llvm.intr.minimum": np.minimum,
    "llvm.intr.fabs": np.abs,
    "llvm.intr.fma": _fma,
    "math.fma": _fma,
    "vector.fma": _fma,
    "math.exp": _wide(np.exp),
    "math.exp2": _wide(np.exp2),
    "math.expm1": _wide(np.expm1),
    "math.log": _wide(np.log),
    "math.log2": _wide(np.log2),
    "math.log1p": _wide(np.log1p),
    "math.sin": _wide(np.sin),
    "math.cos": _wide(np.cos),
    "math.tanh": _wide(np.tanh),
    "math.erf": _wide(lambda x: _ERF(x)),
    "math.sqrt": _wide(np.sqrt),
    "math.rsqrt": _wide(lambda x: 1 / np.sqrt(x)),
    "math.absf": np.abs,
    "math.absi": np.abs,
    "math.floor": np.floor,
    "math.ceil": np.ceil,
    "math.trunc": np.trunc,
    "math.roundeven": np.rint,
    "math.powf": lambda a, b: np.power(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype),
    "nvvm.ex2": _wide(np.exp2),
    "nvvm.rcp.approx.ftz.f": _wide(np.reciprocal),
    "nvvm.rsqrt": _wide(lambda x: 1 / np.sqrt(x)),
    "nvvm.log2": _wide(np.log2),
    "llvm.intr.tanh": _wide(np.tanh),
    "llvm.intr.exp2": _wide(np.exp2),
    "llvm.intr.sqrt": _wide(np.sqrt),
    "llvm.add": np.add,
    "llvm.mul": np.multiply,
    "llvm.or": np.bitwise_or,
    "llvm.and": np.bitwise_and,
}

_INTRINSICS: dict[str, Callable[..., Any]] = {
    "llvm.ceil": np.ceil,
    "llvm.copysign": np.copysign,
    "llvm.fabs": np.abs,
    "llvm.floor": np.floor,
    "llvm.fma": _fma,
    "llvm.maxnum": np.fmax,
    "llvm.minnum": np.fmin,
    "llvm.round": lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x),
    "llvm.roundeven": np.rint,
    "llvm.sqrt": _wide(np.sqrt),
    "llvm.trunc": np.trunc,
    "llvm.nvvm.div.full": np.divide,
    "llvm.nvvm.ex2.approx": _wide(np.exp2),
    "llvm.nvvm.ex2.approx.ftz.f": _wide(np.exp2),
    "llvm.nvvm.ex2.approx.ftz": _wide(np.exp2),
    "llvm.nvvm.rcp.approx.ftz.f": _wide(np.reciprocal),
    "llvm.nvvm.rsqrt.approx.ftz.f": _wide(lambda x: 1 / np.sqrt(x)),
    "llvm.nvvm.sqrt.approx.ftz.f": _wide(np.sqrt),
    "llvm.nvvm.lg2.approx.ftz.f": _wide(np.log2),
}


def elementwise(fn: Callable[..., Any], inputs: list[int], output: int) -> Step:
    if len(inputs) == 1:
        (i,) = inputs

        def one(threads: Threads) -> None:
            env = threads.env
            env[output] = fn(env[i])

        return one
    if len(inputs) == 2:
        i, j = inputs

        def two(threads: Threads) -> None:
            env = threads.env
            env[output] = fn(env[i], env[j])

        return two

    def many(threads: Threads) -> None:
        env = threads.env
        env[output] = fn(*(env[i] for i in inputs))

    return many


def _register(name: str, fn: Callable[..., Any]) -> None:
    HANDLERS[name] = lambda c, op: elementwise(fn, c.inputs(op), c.slot(op.results[0]))


for _name, _fn in _ELEMENTWISE.items():
    _register(_name, _fn)


@handles("llvm.call_intrinsic")
def _intrinsic(c: Compiler, op: Any) -> Step:
    name = attribute(op, "intrin")
    if name not in _INTRINSICS:
        raise NotImplementedError(f"the interpreter does not know {name}")
    return elementwise(_INTRINSICS[name], c.inputs(op), c.slot(op.results[0]))


def _scalar(attr: Any) -> Any:
    if isinstance(attr, ir.FloatAttr):
        return attr.value
    if isinstance(attr, ir.BoolAttr):
        return attr.value
    return ir.IntegerAttr(attr).value


@handles("arith.constant", "llvm.mlir.constant")
def _constant(c: Compiler, op: Any) -> Step:
    type_, attr, output = op.results[0].type, op.attributes["value"], c.slot(op.results[0])
    dtype = dtype_of(type_)
    if isinstance(type_, ir.VectorType):
        shape = (1, *type_.shape)
        values = dense_values(ir.DenseElementsAttr(attr), dtype)
        value = np.broadcast_to(values, shape) if values.ndim == 0 else values.reshape(shape)
    else:
        value = np.array([_scalar(attr)]).astype(dtype)

    def run(threads: Threads) -> None:
        threads.env[output] = value

    return run


def dense_values(dense: ir.DenseElementsAttr, dtype: Any) -> np.ndarray:
    """Elements in a row, or one without an axis if they are all the same."""
    if dense.is_splat:
        return np.array(_scalar(dense.get_splat_value())).astype(dtype)
    kind = ir.DenseFPElementsAttr if dtype_is_float(dtype) else ir.DenseIntElementsAttr
    items = kind(dense)
    return np.array([items[i] for i in range(len(items))]).astype(dtype)


def dtype_is_float(dtype: Any) -> bool:
    return dtype == ml_dtypes.bfloat16 or np.issubdtype(dtype, np.floating)


@handles("ub.poison", "llvm.mlir.poison", "llvm.mlir.undef")
def _poison(c: Compiler, op: Any) -> Step:
    type_, output = op.results[0].type, c.slot(op.results[0])
    if str(type_).startswith("!llvm.struct"):
        value: Any = []
    else:
        shape = type_.shape if isinstance(type_, ir.VectorType) else []
        value = np.full((1, *shape), 0xFF, np.uint8).astype(dtype_of(type_))
    return lambda threads: threads.env.__setitem__(output, value)


@handles(
    "arith.extf",
    "arith.truncf",
    "arith.extsi",
    "arith.sitofp",
    "arith.fptosi",
    "arith.fptoui",
    "arith.trunci",
    "arith.index_cast",
)
def _cast(c: Compiler, op: Any) -> Step:
    dtype = dtype_of(op.results[0].type)
    if op.operation.name == "arith.trunci" and dtype == np.bool_:
        return elementwise(lambda x: (x & 1).astype(np.bool_), c.inputs(op), c.slot(op.results[0]))
    sign = -1 if op.operation.name == "arith.extsi" else 1
    if dtype_of(op.operands[0].type) == np.bool_ and sign < 0:
        return elementwise(lambda x: -x.astype(dtype), c.inputs(op), c.slot(op.results[0]))
    return elementwise(lambda x: x.astype(dtype), c.inputs(op), c.slot(op.results[0]))


@handles("arith.extui", "arith.uitofp", "arith.index_castui", "llvm.zext")
def _zero_extend(c: Compiler, op: Any) -> Step:
    dtype = dtype_of(op.results[0].type)
    return elementwise(lambda x: _unsigned(x).astype(dtype), c.inputs(op), c.slot(op.results[0]))


@handles("arith.bitcast", "vector.bitcast", "llvm.bitcast")
def _bitcast(c: Compiler, op: Any) -> Step:
    type_ = op.results[0].type
    dtype = dtype_of(type_)
    shape = tuple(type_.shape) if isinstance(type_, ir.VectorType) else ()

    def cast(x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x).reshape(len(x), -1).view(dtype).reshape(len(x), *shape)

    return elementwise(cast, c.inputs(op), c.slot(op.results[0]))


@handles("builtin.unrealized_conversion_cast", "memref.assume_alignment", "gpu.subgroup_id_cast")
def _same(c: Compiler, op: Any) -> Step:
    return elementwise(lambda x: x, c.inputs(op)[:1], c.slot(op.results[0]))


_INTEGER_ORDER = (
    np.equal,
    np.not_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
)


@handles("arith.cmpi")
def _cmpi(c: Compiler, op: Any) -> Step:
    predicate = attribute(op, "predicate")
    compare = _INTEGER_ORDER[predicate]
    fn = compare if predicate < 6 else lambda a, b: compare(_unsigned(a), _unsigned(b))
    return elementwise(fn, c.inputs(op), c.slot(op.results[0]))


def _ordered(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b: fn(a, b) & ~(np.isnan(a) | np.isnan(b))


def _unordered(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b: fn(a, b) | np.isnan(a) | np.isnan(b)


_FLOAT_COMPARE = (np.equal, np.greater, np.greater_equal, np.less, np.less_equal, np.not_equal)
_FLOAT_ORDER = (
    lambda a, b: np.zeros(np.broadcast(a, b).shape, bool),
    *map(_ordered, _FLOAT_COMPARE),
    lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    *map(_unordered, _FLOAT_COMPARE),
    lambda a, b: np.isnan(a) | np.isnan(b),
    lambda a, b: np.ones(np.broadcast(a, b).shape, bool),
)


@handles("arith.cmpf")
def _cmpf(c: Compiler, op: Any) -> Step:
    fn = _FLOAT_ORDER[attribute(op, "predicate")]
    return elementwise(fn, c.inputs(op), c.slot(op.results[0]))


def choose(condition: np.ndarray, a: Any, b: Any) -> Any:
    """a where ``condition``, else b."""
    if not isinstance(a, np.ndarray):
        return a if condition.all() else b
    if condition.ndim < a.ndim:
        condition = condition.reshape(len(condition), *[1] * (a.ndim - 1))
    return np.where(condition, a, b)


@handles("arith.select")
def _select(c: Compiler, op: Any) -> Step:
    return elementwise(choose, c.inputs(op), c.slot(op.results[0]))
