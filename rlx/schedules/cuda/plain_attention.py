"""`rlx.attention` without tensor cores: a warp per query and head, with an online softmax.

For 32 keys at a time, each lane computes the score of one; then all lanes add up the value rows,
each some of their columns. What no query sees is not read. For every element type, every attribute
and every size; accumulation is in f32, in f64 for f64.
"""

import math
from collections.abc import Callable

from rlx.dialects import emit
from rlx.dialects.attention import AttentionOp
from rlx.dialects.base import RlxOp
from rlx.dialects.types import accumulator_type
from rlx.host import arith, gpu, ir, memref
from rlx.host import math as mlir_math
from rlx.schedules.cuda import code
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.kernels import Kernels

__all__ = ["build", "prepare", "refusal"]

_THREADS = 128
_WARP = 32
_FAR = 2**61  # no window at or above it hides anything
_MOST_COLUMNS = 1024


def refusal(op: AttentionOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if op.v_head_dim > _MOST_COLUMNS:
        return f"v_head_dim, {op.v_head_dim}, is above {_MOST_COLUMNS}"
    return None


def prepare(op: AttentionOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes the op again, with a mask that fits; returns it and its result."""
    key, value, lengths = op.fitting_operands()
    result = AttentionOp.create(op.query, key, value, op.fitting_mask(), lengths, **op.attrs)
    return result.owner.opview, result


def build(op: AttentionOp, kernels: Kernels, arch: Arch) -> ir.Value:
    """Emits buffers and the launch for an op that :func:`prepare` made; returns the result."""
    element = op.query.type.element_type
    shape = emit.sizes(op.query)
    rows = code.multiply(code.multiply(shape[0], shape[1]), op.num_heads)
    shape[2] = op.num_heads * op.v_head_dim
    result = code.alloc(shape, element)
    buffers = [code.to_buffer(x) for x in (op.query, op.key, op.value)]
    types = [code.matrix(element, 3)] * 3
    for extra in (op.mask, op.kv_lengths):
        if extra is not None:
            buffers.append(code.to_buffer(extra))
            types.append(_any(extra.type))
    kernel = _Kernel(op)
    launch = kernels.define(
        kernels.name(f"rlx_plain_attention_{element}", tuple(map(str, types)) + kernel.key),
        [*types, code.matrix(element, 3)],
        kernel.body,
        block=[_THREADS],
    )
    launch(*buffers, result, grid=[code.ceil_div(rows, _THREADS // _WARP)])
    return code.to_tensor(result)


def _any(type_: ir.RankedTensorType) -> ir.MemRefType:
    """Axes of size 1, which are repeated, and others."""
    if type_.rank == 0:
        return ir.MemRefType.get([], type_.element_type)
    layout = code.matrix(type_.element_type, type_.rank).layout
    shape = [1 if size == 1 else code.DYNAMIC for size in type_.shape]
    return ir.MemRefType.get(shape, type_.element_type, layout)


class _Kernel:
    def __init__(self, op: AttentionOp):
        self.attrs = op.attrs
        self.has_mask, self.has_lengths = op.mask is not None, op.kv_lengths is not None
        self.key = (self.has_mask, *((k, v) for k, v in sorted(self.attrs.items())))
        self.wide = accumulator_type(op.query.type.element_type)
        self.heads, self.repeat = op.num_heads, op.num_heads // op.num_kv_heads
        self.dims, self.v_dims = op.head_dim, op.v_head_dim
        self.columns = -(-self.v_dims // _WARP)

    def number(self, value: float) -> ir.Value:
        return arith.constant(self.wide, value)

    def wide_load(self, buffer: ir.Value, at: list[Index]) -> ir.Value:
        return emit.convert(code.load_raw(buffer, at), self.wide)

    def body(self, q: ir.Value, k: ir.Value, v: ir.Value, *rest: ir.Value) -> None:
        *extras, out = rest
        mask = extras.pop(0) if self.has_mask else None
        lengths = extras.pop(0) if self.has_lengths else None
        thread = code.thread(_THREADS)
        lane = code.remainder(thread, _WARP)
        first = code.multiply(code.block("x"), _THREADS // _WARP)
        row = code.add(first, code.divide(thread, _WARP))
        batch, queries = code.dim(q, 0), code.dim(q, 1)
        total = code.multiply(code.multiply(batch, queries), self.heads)

        def one() -> None:
            # Heads of a query follow each other: they share keys.
            h = code.remainder(row, self.heads)
            rest = code.divide(row, self.heads)
            b, i = code.divide(rest, queries), code.remainder(rest, queries)
            self.row(q, k, v, mask, lengths, out, b, h, i, lane)

        code.if_(code.less(row, total), one)

    def limits(
        self, k: ir.Value, lengths: ir.Value | None, b: Index, i: Index, queries: Index
    ) -> tuple[Index, Index]:
        """The keys that a query may see: from, to."""
        keys = code.dim(k, 1)
        a = self.attrs
        end: Index = keys
        if lengths is not None:
            index = ir.IndexType.get()
            length = arith.index_cast(index, code.load_raw(lengths, [b]))
            end = code.maximum(code.minimum(length, keys), 0)
            offset = code.subtract(end, queries)
        elif a["q_offset"] is not None:
            offset = a["q_offset"]
        else:
            offset = code.subtract(keys, queries)
        p, low = code.add(offset, i), 0
        if a["causal"]:
            end = code.minimum(end, code.add(p, 1))
        if 0 <= a["right_window"] < _FAR:
            end = code.minimum(end, code.add(p, a["right_window"] + 1))
        if 0 <= a["left_window"] < _FAR:
            low = code.maximum(0, code.subtract(p, a["left_window"]))
        return low, end

    def row(
        self,
        q: ir.Value,
        k: ir.Value,
        v: ir.Value,
        mask: ir.Value | None,
        lengths: ir.Value | None,
        out: ir.Value,
        b: Index,
        h: Index,
        i: Index,
        lane: Index,
    ) -> None:
        """The result of one query and head."""
        g = code.divide(h, self.repeat)
        low, end = self.limits(k, lengths, b, i, code.dim(q, 1))
        lowest, zero = self.number(-math.inf), self.number(0.0)

        def tile(start: ir.Value, best: ir.Value, total: ir.Value, *sums: ir.Value) -> list:
            j = code.add(start, lane)
            there = code.less(j, end)
            score = self.score(q, k, mask, b, h, g, i, arith.select(there, j, start))
            score = arith.select(there, score, lowest)
            top = arith.maximumf(best, _over_warp(score, arith.maximumf))
            nothing = arith.cmpf(arith.CmpFPredicate.OEQ, top, lowest)
            base = arith.select(nothing, zero, top)
            weight = mlir_math.exp(arith.subf(score, base))
            shrink = mlir_math.exp(arith.subf(best, base))
            total = arith.addf(arith.mulf(total, shrink), _over_warp(weight, arith.addf))
            gone = arith.cmpf(arith.CmpFPredicate.OEQ, shrink, zero)
            shrunk = [arith.select(gone, zero, arith.mulf(s, shrink)) for s in sums]
            count = code.minimum(code.subtract(end, start), _WARP)
            added = code.loop(
                0,
                count,
                1,
                lambda n, *s: self.add(v, b, g, code.add(start, n), _from(weight, n), lane, s),
                shrunk,
            )
            return [top, total, *added]

        _, total, *sums = code.loop(low, end, _WARP, tile, [lowest, zero, *([zero] * self.columns)])
        empty = arith.cmpf(arith.CmpFPredicate.OEQ, total, zero)
        for number, value in enumerate(sums):
            mean = arith.select(empty, zero, arith.divf(value, total))
            self.store(mean, out, b, i, h, code.add(lane, _WARP * number))

    def store(
        self, value: ir.Value, out: ir.Value, b: Index, i: Index, h: Index, column: Index
    ) -> None:
        def write() -> None:
            at = [b, i, code.add(code.multiply(h, self.v_dims), column)]
            narrow = emit.convert(value, out.type.element_type)
            memref.store(narrow, out, [code.index(n) for n in at])

        if self.v_dims % _WARP == 0:
            write()
        else:
            code.if_(code.less(column, self.v_dims), write)

    def score(
        self,
        q: ir.Value,
        k: ir.Value,
        mask: ir.Value | None,
        b: Index,
        h: Index,
        g: Index,
        i: Index,
        j: Index,
    ) -> ir.Value:
        """What a query scores with a key, -inf where the mask hides it."""
        a = self.attrs
        mine, theirs = code.multiply(h, self.dims), code.multiply(g, self.dims)

        def step(d: ir.Value, total: ir.Value) -> list[ir.Value]:
            x = self.wide_load(q, [b, i, code.add(mine, d)])
            y = self.wide_load(k, [b, j, code.add(theirs, d)])
            return [mlir_math.fma(x, y, total)]

        (score,) = code.loop(0, self.dims, 1, step, [self.number(0.0)])
        score = arith.mulf(score, self.number(a["scale"]))
        if a["softcap"]:
            cap = self.number(a["softcap"])
            score = arith.mulf(cap, mlir_math.tanh(arith.divf(score, cap)))
        if mask is None:
            return score
        indices: list[Index] = [b, h, i, j][4 - mask.type.rank :]
        at = [0 if n == 1 else x for n, x in zip(mask.type.shape, indices, strict=True)]
        found = code.load_raw(mask, at)
        lowest = self.number(-math.inf)
        if isinstance(found.type, ir.IntegerType):
            return arith.select(found, score, lowest)
        bias = emit.convert(found, self.wide)
        hides = arith.cmpf(arith.CmpFPredicate.OEQ, bias, lowest)
        return arith.select(hides, lowest, arith.addf(score, bias))

    def add(
        self,
        v: ir.Value,
        b: Index,
        g: Index,
        j: Index,
        weight: ir.Value,
        lane: Index,
        sums: tuple[ir.Value, ...],
    ) -> list[ir.Value]:
        """Adds a value row; one with a weight of zero may hold anything."""
        seen = arith.cmpf(arith.CmpFPredicate.UNE, weight, self.number(0.0))
        found = []
        for number, total in enumerate(sums):
            column = code.add(lane, _WARP * number)
            if self.v_dims % _WARP:
                last = self.v_dims - 1
                column = code.minimum(column, last)
            value = self.wide_load(v, [b, j, code.add(code.multiply(g, self.v_dims), column)])
            found.append(arith.select(seen, mlir_math.fma(weight, value, total), total))
        return found


def _over_warp(value: ir.Value, combine: Callable[..., ir.Value]) -> ir.Value:
    for distance in (16, 8, 4, 2, 1):
        value = combine(value, code.shuffle_xor(value, distance))
    return value


def _from(value: ir.Value, lane: ir.Value) -> ir.Value:
    """The value of another lane, the same for all."""
    i32 = ir.IntegerType.get_signless(32)
    mode = ir.Attribute.parse("#gpu<shuffle_mode idx>")
    number = arith.index_cast(i32, lane)
    return gpu.shuffle(value, number, arith.constant(i32, _WARP), mode)[0]
