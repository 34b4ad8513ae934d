"""Compiles one op for the CPU, runs it, and compares with its reference."""

import sys

import ml_dtypes
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import rlx
from rlx import dtypes
from rlx.host import func, ir

TOLERANCE = {
    np.dtype(np.float64): 1e-12,
    np.dtype(np.float32): 1e-5,
    np.dtype(np.float16): 2e-3,
    np.dtype(ml_dtypes.bfloat16): 1e-2,
}
"""Largest error, relative to the expected element and the root mean square of all."""

few = settings(max_examples=15, deadline=None, derandomize=True)
many = settings(max_examples=200, deadline=None)

FLOATS = {"f32": np.float32, "bf16": ml_dtypes.bfloat16, "f16": np.float16, "f64": np.float64}


def random(shape, dtype="f32", seed=0):
    """Normally distributed numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(FLOATS[dtype])


def dtype_names():
    """A strategy: mostly f32, since the others differ in conversions only."""
    return st.sampled_from(["f32", "f32", "bf16", "f16", "f64"])


def dynamic_sizes(*ranks):
    """A strategy for ``dynamic`` of :func:`run`: none, all, or any subset of the sizes."""
    every = [(n, axis) for n, rank in enumerate(ranks) for axis in range(rank)]
    fixed = st.just(()) | st.just(True)
    return fixed | st.sets(st.sampled_from(every)) if every else fixed


def module_text(op, operands, dynamic=(), **attrs):
    """A module with one function ``main`` that applies ``op`` to its arguments.

    Args:
        op: the class.
        operands: an array each; None for an absent one, a list for a variadic one.
        dynamic: the sizes that the types leave open: True for all, or a set of (n, axis) where n
            counts the arrays.
    """
    arrays = [a for o in operands if o is not None for a in (o if isinstance(o, list) else [o])]

    def type_of(n, array):
        shape = [
            ir.ShapedType.get_dynamic_size() if dynamic is True or (n, axis) in dynamic else size
            for axis, size in enumerate(array.shape)
        ]
        return ir.RankedTensorType.get(shape, dtypes.to_mlir(array.dtype))

    with ir.Context() as context, ir.Location.unknown():
        rlx.load_dialects(context)
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):

            @func.FuncOp.from_py_func(*(type_of(n, a) for n, a in enumerate(arrays)), name="main")
            def main(*arguments):
                values = iter(arguments)
                given = [
                    None
                    if o is None
                    else [next(values) for _ in o]
                    if isinstance(o, list)
                    else next(values)
                    for o in operands
                ]
                return getattr(sys.modules[op.__module__], op._op_name)(*given, **attrs)

        module.operation.verify()
        return str(module), arrays


def run(op, *operands, dynamic=(), **attrs):
    """The result of the compiled op."""
    text, arrays = module_text(op, operands, dynamic, **attrs)
    before = [array.copy() for array in arrays]
    # Arrays as small as these are never split over threads; `test_threads` has those that are.
    result = rlx.compile(text, threads=1, cache=False)(*arrays)
    for array, old in zip(arrays, before, strict=True):
        assert array.tobytes() == old.tobytes(), "an argument was changed"
    return result


def reference(op, *operands, **attrs):
    """The op's reference, computed in float64."""

    def wide(operand):
        if isinstance(operand, list):
            return [wide(o) for o in operand]
        is_float = operand is not None and operand.dtype in TOLERANCE
        return operand.astype(np.float64) if is_float else operand

    return op.reference(*map(wide, operands), **attrs)


def check(op, *operands, dynamic=(), tolerance=None, **attrs):
    """Compares the compiled op with its reference."""
    actual = run(op, *operands, dynamic=dynamic, **attrs)
    first = operands[0][0] if isinstance(operands[0], list) else operands[0]
    assert actual.dtype == first.dtype
    assert_close(actual, reference(op, *operands, **attrs), tolerance)
    return actual


def assert_close(actual, expected, tolerance=None):
    """``tolerance`` defaults to that of the dtype of ``actual``."""
    assert actual.shape == expected.shape
    tolerance = TOLERANCE[actual.dtype] if tolerance is None else tolerance
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    scale = np.sqrt(np.mean(expected**2)) if expected.size else 0.0
    error = np.abs(actual - expected) - tolerance * (np.abs(expected) + scale)
    worst = np.max(error, initial=-np.inf)
    assert not worst > 0 and not np.isnan(worst), f"off by {worst} beyond tolerance {tolerance}"
