"""The kernel of an attention op, by how many rows it has."""

from rlx.dialects import emit
from rlx.dialects.attention import AttentionOp
from rlx.host import ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention.few import few
from rlx.schedules.cpu.attention.inputs import operands
from rlx.schedules.cpu.attention.many import many
from rlx.schedules.cpu.attention.problem import FEW, Problem
from rlx.schedules.cpu.attention.rotation import before
from rlx.schedules.cpu.code import Kernels
from rlx.schedules.cpu.isa import Isa

__all__ = ["build"]


def build(op: AttentionOp, kernels: Kernels, isa: Isa) -> ir.Value:
    """Emits buffers and the call for an op in the form for kernels; returns the result."""
    problem = Problem.of(op, isa)
    shape = emit.sizes(before(op.query))
    shape[2] = op.num_heads * op.v_head_dim
    result = code.alloc(shape, problem.element)
    buffers = [*map(code.to_buffer, operands(op)), result]
    rows = code.multiply(shape[1], problem.repeat)

    def run_many() -> None:
        many(problem, kernels)(*buffers)

    def run_few() -> None:
        few(problem.for_few(rows), kernels)(*buffers)

    if problem.key_rotation is not None:
        run_many()
    elif isinstance(rows, int):
        (run_few if rows <= FEW else run_many)()
    else:
        code.if_(code.at_most(rows, FEW), run_few, run_many)
    return code.to_tensor(result)
