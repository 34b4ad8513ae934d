"""`rlx.attention` on tensor cores: mma.sync, fed by ldmatrix and cp.async, with an online softmax.

The heads of a group share their keys and values, so the rows of a block are pairs of a query and a
head of the group: every tile of keys and values is read once for all of them. Each warp keeps the
sums of its rows in registers. While it multiplies with a tile of keys, the values of that tile are
on their way, and while it multiplies with the values, the next keys.

Tiles that no row of a block sees are not visited; in those that not all rows see all of, and where
there is a mask, scores of hidden keys become -inf. Keys and values past `kv_lengths` are not read.

With few rows (decoding) the keys are split over many blocks of a single warp or a few, and a second
kernel merges what they found. Head dims are padded to 16; sizes and strides come at run time.
"""

import functools
import math
from dataclasses import replace
from typing import Any

from rlx.dialects import emit
from rlx.dialects.attention import AttentionOp, additive_mask
from rlx.dialects.base import RlxOp
from rlx.dialects.types import is_static
from rlx.host import arith, ir
from rlx.schedules.cuda import attention_merge, code
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.attention_mma import Attention
from rlx.schedules.cuda.attention_tiles import Parameters, columns_of
from rlx.schedules.cuda.by_rows import conditions
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.softmax import Problem, Turn
from rlx.schedules.cuda.turned import queries_of

__all__ = ["Parameters", "Problem", "build", "emit_kernel", "parameters", "prepare", "refusal"]

_MOST_DIM = 512
FEW_ROWS = 64
"""Up to here keys are split over blocks."""


_SPLIT_BLOCKS = attention_merge.MOST_SPLITS
"""Blocks that keys are split over, about; enough to have several on every processor."""


# By what the head dims are at most; the first that fits into shared memory.
_PARAMETERS: tuple[tuple[int, tuple[Parameters, ...]], ...] = (
    (64, (Parameters(4, 32, 64),)),
    (128, (Parameters(4, 32, 32),)),
    (256, (Parameters(4, 16, 64), Parameters(4, 16, 32))),
    (512, (Parameters(4, 16, 32), Parameters(2, 16, 32))),
)


def parameters(problem: Problem, arch: Arch, rows: int | None) -> Parameters | None:
    """For a number of rows, None if it is not known; None if nothing fits.

    The rows are those that share keys: queries times the heads of a group.
    """
    sizes = problem.padded, columns_of(problem)
    candidates = next(found for most, found in _PARAMETERS if max(sizes) <= most)
    if problem.mask is not None and max(sizes) <= 256:
        # Reading the mask takes registers.
        candidates = (Parameters(4, 16, 64 if max(sizes) <= 128 else 32),)
    if rows is not None and rows <= FEW_ROWS:
        warps = max(1, -(-rows // 16))
        candidates = tuple(Parameters(warps, 16, keys, split=True) for keys in (64, 32))
    return next((p for p in candidates if p.shared(*sizes) <= arch.shared), None)


def _rows(op: AttentionOp) -> int | None:
    queries = op.query.type.shape[1]
    return queries * op.num_heads // op.num_kv_heads if is_static(queries) else None


def refusal(op: AttentionOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    element = op.query.type.element_type
    if not isinstance(element, (ir.F16Type, ir.BF16Type)):
        return f"tensor cores would round {element}"
    for what, size in (("head_dim", op.head_dim), ("v_head_dim", op.v_head_dim)):
        if size > _MOST_DIM:
            return f"{what}, {size}, is above {_MOST_DIM}"
    if not math.isfinite(op.scale) or abs(op.scale) > 1e30 or op.softcap > 1e30:
        return "the scale or the bound of the scores is too large"
    if parameters(Problem.of(op), arch, _rows(op)) is None:
        return f"{arch.name} does not have the shared memory"
    return None


def prepare(op: AttentionOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes attention whose mask, if it has one, is in f32; returns it twice."""
    key, value, lengths = op.fitting_operands()
    mask = op.fitting_mask()
    if mask is not None:
        mask = additive_mask(mask)
    result = AttentionOp.create(op.query, key, value, mask, lengths, **op.attrs)
    return result.owner.opview, result


def build(op: AttentionOp, kernels: Kernels, arch: Arch) -> ir.Value:
    """Emits buffers and launches for an op that :func:`prepare` made; returns the result."""
    problem, query, tables = turned_by(op)
    p = parameters(problem, arch, _rows(op))
    assert p is not None  # else it was refused
    element = op.query.type.element_type
    shape = emit.sizes(op.query)
    shape[2] = op.num_heads * op.v_head_dim
    result = code.alloc(shape, element)
    buffers = [code.to_buffer(x) for x in (query, op.key, op.value, *tables)]
    buffers += [code.to_buffer(x) for x in (op.mask, op.kv_lengths) if x is not None]
    many = launch_few(op, kernels, problem, arch, buffers, result)
    emit_kernel(kernels, problem, p)(buffers, result, many)
    return code.to_tensor(result)


def launch_few(
    op: AttentionOp,
    kernels: Kernels,
    problem: Problem,
    arch: Arch,
    buffers: list[ir.Value],
    result: ir.Value,
) -> ir.Value | None:
    """Emits launches of kernels for few rows, where only a call tells how many there are.

    Returns the condition under which there are more; None: nothing is to be asked.
    """
    if _rows(op) is not None:
        return None
    few = []
    for most in (16, FEW_ROWS):
        p = parameters(problem, arch, most)
        if p is not None and p.split:
            few.append((most, emit_kernel(kernels, problem, p)))
    # Rows that share keys: queries times the heads of a group.
    rows = code.multiply(code.dim(buffers[0], 1), problem.repeat)
    *several, many = conditions(rows, [*(most for most, _ in few), None])
    for (_, launch), when in zip(few, several, strict=True):
        launch(buffers, result, when)
    return many


def turned_by(op: AttentionOp) -> tuple[Problem, ir.Value, list[ir.Value]]:
    """The problem, the queries as they are before the kernel turns them, and what it does that by:
    tables, and positions if there are any."""
    problem, rope = Problem.of(op), queries_of(op)
    if rope is None:
        return problem, op.query, []
    by, positions = [rope.cos, rope.sin], None
    if rope.positions is not None:
        type_ = rope.positions.type
        positions = str(code.matrix(type_.element_type, type_.rank))
        by.append(rope.positions)
    table = str(rope.cos.type.element_type)
    turn = Turn(rope.n_rot, table, rope.pairing == "interleaved", positions)
    return replace(problem, turn=turn), rope.input, by


def emit_kernel(kernels: Kernels, problem: Problem, p: Parameters) -> Any:
    """A function that emits launches, given the buffers of operands, that of the result, and if
    there is one, a condition for it."""
    attention = Attention(problem, p)
    element = ir.Type.parse(problem.element)
    types: list[ir.Type] = [code.matrix(element, 3)] * 3
    types += problem.extras()
    if p.guarded:
        types.append(code.matrix(code.i32_type()))
    outs = [code.matrix(code.f32(), 4), code.matrix(code.f32(), 4)]
    types += outs if p.split else [code.matrix(element, 3)]
    name = kernels.name(f"rlx_attention_{problem.element}", (problem, p))
    launch = kernels.define(name, types, attention.body, block=[p.threads])
    shared = p.shared(problem.padded, attention.columns)
    if not p.split:

        def direct(buffers: list[ir.Value], result: ir.Value, when: ir.Value | None = None) -> None:
            grid = [attention.blocks(buffers[0])]
            launch(*buffers, result, grid=grid, shared=shared, when=when)

        return direct

    merge = kernels.define(
        f"{name}_merge",
        [*outs, code.matrix(element, 3)],
        functools.partial(attention_merge.merge, problem),
        block=[attention_merge.THREADS],
    )

    def split(buffers: list[ir.Value], result: ir.Value, when: ir.Value | None = None) -> None:
        blocks = attention.blocks(buffers[0])
        tiles = code.ceil_div(code.dim(buffers[1], 1), p.keys)
        each = arith.divui(code.index(_SPLIT_BLOCKS), code.index(code.maximum(blocks, 1)))
        splits = code.maximum(code.minimum(each, tiles), 1)
        # The rows of a head's result: one for each query.
        heads = problem.heads
        batch, queries = code.dim(buffers[0], 0), code.dim(buffers[0], 1)
        rows = code.multiply(batch, code.multiply(queries, heads))
        if when is not None:
            rows = code.select(when, rows, 0)
        sums = code.alloc([splits, rows, 1, problem.v_dims], code.f32())
        stats = code.alloc([splits, rows, 1, 2], code.f32())
        grid = [code.multiply(blocks, splits)]
        launch(*buffers, sums, stats, grid=grid, shared=shared, when=when)
        merge(sums, stats, result, grid=[rows], shared=attention_merge.shared(problem))

    return split
