"""rlx inside another compiler: its context, its module, our ops and passes.

    python examples/embed.py

A compiler that has its own MLIR context adds the `rlx` dialect to it, builds or parses IR in which
rlx ops stand next to its own, runs rlx passes and upstream ones with one pipeline, and goes on with
the result: here to a callable, but any other lowering of linalg would do.
"""

import numpy as np

import rlx
from rlx.dialects.attention import attention
from rlx.host import arith, func, ir, linalg, tensor


def build(context: ir.Context) -> ir.Module:
    """A function in the host compiler's own way: attention, and a residual in linalg."""
    with context, ir.Location.file("embed.py", 1, 1):
        module = ir.Module.create()
        dynamic = ir.ShapedType.get_dynamic_size()
        hidden = ir.RankedTensorType.get([1, dynamic, 32], ir.F32Type.get())
        heads = ir.RankedTensorType.get([1, dynamic, 16], ir.F32Type.get())
        with ir.InsertionPoint(module.body):

            @func.FuncOp.from_py_func(hidden, heads, heads, name="block")
            def block(query, key, value):
                attended = attention(
                    query, key, value, num_heads=4, num_kv_heads=2, head_dim=8, causal=True
                )
                length = tensor.dim(query, arith.constant(ir.IndexType.get(), 1))
                out = tensor.empty([1, length, 32], ir.F32Type.get())
                return linalg.add(attended, query, outs=[out])

        return module


def main() -> None:
    # The context belongs to the other compiler, which may have dialects of its own in it.
    context = ir.Context()
    rlx.load_dialects(context)

    module = build(context)
    print("--- as built", module, sep="\n")

    # One pipeline, MLIR's grammar: rlx passes and upstream passes side by side.
    rlx.run_pipeline(module, "builtin.module(convert-rlx-to-linalg,func.func(canonicalize,cse))")
    print("--- after rlx passes", module, sep="\n")

    # Compiling leaves the module as it is.
    compiled = rlx.compile(module)
    generator = np.random.default_rng(0)
    query = generator.standard_normal((1, 5, 32), np.float32)
    key, value = generator.standard_normal((2, 1, 5, 16), np.float32)
    result = compiled(query, key, value)
    print("--- result", result.shape, result.dtype, result[0, 0, :4], sep="\n")

    # The first query sees the first key only, so its output is that value, plus the residual.
    first = np.repeat(value[0, 0].reshape(2, 8), 2, axis=0).reshape(32) + query[0, 0]
    np.testing.assert_allclose(result[0, 0], first, rtol=1e-6)


if __name__ == "__main__":
    main()
