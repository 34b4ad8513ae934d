"""`rlx.attention` on Hopper: TMA, and products of warp groups.

The first warp group copies: queries once, then tiles of keys and values into a ring of stages. The
others compute 64 rows each: products with the keys from shared memory, the softmax in registers,
products of those weights with the values. Barriers in memory tell them that a tile is there, and
the copying one that its place is free again.

Rows are pairs of a query and a head of the group, which is what a box of TMA with an axis for heads
and one for queries brings. Where the heads of a group do not divide 128, the last rows stay idle.
"""

from dataclasses import replace

from rlx.dialects import emit
from rlx.dialects.attention import AttentionOp
from rlx.dialects.base import RlxOp
from rlx.dialects.types import is_static
from rlx.host import ir
from rlx.schedules.cuda import attention, code, hopper
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.attention_copies import Parameters
from rlx.schedules.cuda.attention_hopper import Attention
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.softmax import Problem

__all__ = ["Parameters", "build", "emit_kernel", "parameters", "prepare", "refusal"]


_PARAMETERS = {
    64: Parameters(128),
    128: Parameters(128),
    192: Parameters(96, in_turn=False),
    256: Parameters(80, in_turn=False),
}
"""By the most columns of a head."""


def parameters(problem: Problem) -> Parameters:
    size = max(problem.dims, problem.v_dims)
    p = next(found for most, found in _PARAMETERS.items() if size <= most)
    if problem.mask is not None:
        # Reading the mask takes registers.
        p = replace(p, keys=p.keys // 32 * 16)
    return p


def refusal(op: AttentionOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if not arch.wgmma:
        return f"{arch.name} has no wgmma"
    if reason := attention.refusal(op, arch):
        return reason
    for what, size in (("head_dim", op.head_dim), ("v_head_dim", op.v_head_dim)):
        if size % code.CHUNK or size > max(_PARAMETERS):
            return f"{what}, {size}, is above {max(_PARAMETERS)} or no multiple of {code.CHUNK}"
    repeat = op.num_heads // op.num_kv_heads
    if repeat > 64:
        return "more than 64 heads share keys"
    queries = op.query.type.shape[1]
    if is_static(queries) and queries * repeat <= attention.FEW_ROWS:
        return "there are few rows"
    if not all(hopper.is_mappable(x) for x in (op.query, op.key, op.value)):
        return "rows may not be aligned to 16 bytes"
    return None


def prepare(op: AttentionOp) -> tuple[RlxOp, ir.Value]:
    """As of the portable kernel."""
    return attention.prepare(op)


def build(op: AttentionOp, kernels: Kernels, arch: Arch) -> ir.Value:
    """Emits buffers and the launch for an op that :func:`prepare` made; returns the result."""
    problem, query, tables = attention.turned_by(op)
    shape = emit.sizes(op.query)
    shape[2] = op.num_heads * problem.v_dims
    result = code.alloc(shape, op.query.type.element_type)
    flat = [code.to_buffer(x) for x in (query, op.key, op.value, *tables)]
    buffers = []
    for value, heads, dims in (
        (query, op.num_heads, problem.dims),
        (op.key, op.num_kv_heads, problem.dims),
        (op.value, op.num_kv_heads, problem.v_dims),
    ):
        split = emit.split_axis(value, 2, [heads, dims])
        buffers.append(code.to_buffer(split))
    flat += [code.to_buffer(x) for x in (op.mask, op.kv_lengths) if x is not None]
    many = attention.launch_few(op, kernels, problem, arch, flat, result)
    p = parameters(problem)
    flags = emit_kernel(kernels, problem, p)(buffers, flat[3:], result, many)
    # Where infinite values showed that must not, rows are computed once more.
    portable = attention.parameters(problem, arch, None)
    assert portable is not None  # else it was refused
    guarded = replace(portable, guarded=p.queries(problem))
    attention.emit_kernel(kernels, problem, guarded)([*flat, flags], result, many)
    return code.to_tensor(result)


def emit_kernel(kernels: Kernels, problem: Problem, p: Parameters):
    """A function that emits the launch.

    It is given buffers [B, S, heads, D], further ones (tables of cosines and sines, the mask, the
    lengths), that of the result, and perhaps a condition.

    It returns a buffer of flags: for each block of queries, those of its warps; a flag tells of
    sums that are not finite.
    """
    kernel = Attention(problem, p)
    element = ir.Type.parse(problem.element)
    boxes = kernel.query_box, kernel.key_box, kernel.key_box
    types = [hopper.map_type(box, element) for box in boxes]
    types += problem.extras()
    types += [ir.IndexType.get(), code.matrix(code.i32_type()), code.matrix(element, 3)]
    name = kernels.name(f"rlx_attention_wgmma_{problem.element}", (problem, p))
    launch = kernels.define(
        name,
        types,
        kernel.body,
        block=[p.threads],
        attributes={"nvvm.minctasm": ir.IntegerAttr.get(code.i32_type(), 1)},
    )

    def emit_launch(
        buffers: list[ir.Value],
        extras: list[ir.Value],
        result: ir.Value,
        when: ir.Value | None = None,
    ) -> ir.Value:
        maps = [hopper.describe(b, box) for b, box in zip(buffers, boxes, strict=True)]
        blocks = code.ceil_div(code.dim(result, 1), kernel.queries_of_block)
        across = code.multiply(code.dim(result, 0), problem.groups)
        grid = code.multiply(blocks, across)
        flags = code.alloc([grid, 4 * p.groups], code.i32_type())
        keys = code.dim(buffers[1], 1)
        shared = p.shared(problem)
        launch(*maps, *extras, keys, flags, result, grid=[grid], shared=shared, when=when)
        return flags

    return emit_launch
