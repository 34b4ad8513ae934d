"""`rlx.attention`: keys and values in tiles, with an online softmax.

The heads of a group share their keys and values: the rows of a block are pairs of a query and a
head of the group. A tile of keys is transposed and a tile of values copied once for all rows, or,
where one block holds all rows (decoding), as they are read. For each block and tile

* scores: a register-blocked product of the scaled queries with the tile of keys;
* what causality, windows, lengths and the mask hide becomes -inf, in tiles at an edge only;
* weights are 2^(score - largest so far), and what was summed up before is scaled accordingly;
* sums: a register-blocked product of the weights with the tile of values.

Tiles that no row of a block sees are not visited. Everything is computed in f32.

A value that is NaN or infinite must not show in rows whose weight for it is zero. Copying notices
such values; a block that meets one is computed a second time, with the largest scores known from
the start and without the products that have a weight of zero.
"""

import math
from dataclasses import dataclass
from typing import Any

from rlx.dialects import emit
from rlx.dialects.attention import AttentionOp
from rlx.dialects.base import RlxOp
from rlx.host import arith, ir, tensor
from rlx.host import math as mlir_math
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import Isa

__all__ = ["Parameters", "build", "parameters", "prepare", "refusal"]


@dataclass(frozen=True)
class Parameters:
    """Sizes of blocks.

    Attributes:
        rows, vectors: the products keep rows x vectors registers of sums.
        queries: rows of a block, a multiple of ``rows``.
        keys: keys of a tile, a multiple of the columns of a product.
    """

    rows: int
    vectors: int
    queries: int
    keys: int


_PARAMETERS = {
    "avx512": Parameters(rows=8, vectors=2, queries=64, keys=64),
    "avx2": Parameters(rows=6, vectors=2, queries=48, keys=64),
}

# Narrower heads leave most lanes empty; wider ones do not leave room for a tile in the cache.
_LEAST_DIM, _LARGEST_DIM = 16, 512
_FAR = 2**61  # no window at or above it hides anything


def parameters(isa: Isa) -> Parameters:
    return _PARAMETERS[isa.name]


def refusal(op: AttentionOp) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if isinstance(op.query.type.element_type, ir.F64Type):
        return "there is no kernel for f64"
    for what, size in (("head_dim", op.head_dim), ("v_head_dim", op.v_head_dim)):
        if size > _LARGEST_DIM:
            return f"{what}, {size}, is above {_LARGEST_DIM}"
        if size < _LEAST_DIM:
            return f"{what}, {size}, is below {_LEAST_DIM}"
    if op.num_heads // op.num_kv_heads > 256:
        return "more than 256 heads share a key"
    if not math.isfinite(op.scale) or abs(op.scale) > 1e30 or op.softcap > 1e30:
        return "the scale or the bound of the scores is too large"
    return None


def prepare(op: AttentionOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes attention whose mask, if it has one, is in f32; returns it twice."""
    key, value, lengths = op.fitting_operands()
    mask = op.fitting_mask()
    if mask is not None:
        mask = _as_f32(mask)
    result = AttentionOp.create(op.query, key, value, mask, lengths, **op.attrs)
    return result.owner.opview, result


def _as_f32(mask: ir.Value) -> ir.Value:
    """A mask of floats; what an i1 mask hides is -inf, the rest 0."""
    wide = ir.F32Type.get()
    if mask.type.rank == 0:
        type_ = ir.RankedTensorType.get([1], mask.type.element_type)
        mask = tensor.expand_shape(type_, mask, [], [], [1])
    if isinstance(mask.type.element_type, ir.FloatType):
        return emit.convert_tensor(mask, wide)
    axes = emit.axes(mask.type.rank)

    def body(allowed: ir.Value, _: ir.Value) -> ir.Value:
        return arith.select(allowed, emit.constant(wide, 0.0), emit.constant(wide, -math.inf))

    out = emit.empty(emit.sizes(mask), wide)
    return emit.generic([mask], out, [axes, axes], "p" * mask.type.rank, body)


def build(op: AttentionOp, kernels: Kernels, isa: Isa) -> ir.Value:
    """Emits buffers and the call for an op that :func:`prepare` made; returns the result."""
    element = op.query.type.element_type
    shape = emit.sizes(op.query)
    shape[2] = op.num_heads * op.v_head_dim
    result = code.alloc(shape, element)
    buffers = [code.to_buffer(x) for x in (op.query, op.key, op.value)]
    attention = _Attention(op, kernels, isa)
    types = [code.matrix(element, 3)] * 4
    if op.mask is not None:
        buffers.append(code.to_buffer(op.mask))
        types.insert(3, attention.mask_type)
    if op.kv_lengths is not None:
        buffers.append(code.to_buffer(op.kv_lengths))
        types.insert(-1, code.matrix(op.kv_lengths.type.element_type, 1))
    name = kernels.name("rlx_attention", attention.key)
    kernels.define(name, types, attention.body)(*buffers, result)
    return code.to_tensor(result)


def _mask_type(type_: ir.RankedTensorType) -> ir.MemRefType:
    """Axes of size 1, which are repeated, and others."""
    plain = code.matrix(type_.element_type, type_.rank)
    shape = [1 if size == 1 else code.DYNAMIC for size in type_.shape]
    return ir.MemRefType.get(shape, type_.element_type, plain.layout)


class _Attention:
    """The kernel for one combination of attributes and types; sizes come at run time."""

    def __init__(self, op: AttentionOp, kernels: Kernels, isa: Isa):
        self.kernels, self.isa, self.p = kernels, isa, parameters(isa)
        self.lanes = isa.lanes
        self.width = self.p.vectors * isa.lanes
        self.element = op.query.type.element_type
        self.groups, self.repeat = op.num_kv_heads, op.num_heads // op.num_kv_heads
        self.dims, self.v_dims = op.head_dim, op.v_head_dim
        self.v_padded = -(-op.v_head_dim // self.width) * self.width
        self.causal = op.causal
        self.left = op.left_window if op.left_window < 2 * _FAR else -1
        self.right = op.right_window if op.right_window < 2 * _FAR else -1
        self.scale, self.softcap = op.scale, op.softcap
        self.q_offset = op.q_offset
        self.mask_type = None if op.mask is None else _mask_type(op.mask.type)
        self.has_lengths = op.kv_lengths is not None
        lengths_type = str(op.kv_lengths.type.element_type) if op.kv_lengths is not None else ""
        self.key: Any = (isa.name, str(self.element), str(self.mask_type), lengths_type)
        self.key += tuple(op.attrs.items())

    # -- shapes of scratch memory ------------------------------------------------------------------

    def scratch(self, *shape: int) -> ir.MemRefType:
        return ir.MemRefType.get(list(shape), code.f32())

    @property
    def key_tiles(self) -> ir.MemRefType:
        """[tile, panel, dim, key of the panel]"""
        return self.scratch(code.DYNAMIC, self.p.keys // self.width, self.dims, self.width)

    @property
    def value_tiles(self) -> ir.MemRefType:
        return self.scratch(code.DYNAMIC, self.p.keys, self.v_padded)

    def define(self, name: str, types: list[ir.Type], build: Any, *key: Any) -> Kernel:
        """A kernel that is shared where ``key`` says all there is to say."""
        full = self.kernels.name(f"rlx_attention_{name}", (self.isa.name, *key))
        return self.kernels.define(full, types, build)

    # -- the whole ---------------------------------------------------------------------------------

    def body(self, *arguments: ir.Value) -> None:
        query, key, value, *extra, out = arguments
        mask = extra[0] if self.mask_type is not None else None
        lengths = extra[-1] if self.has_lengths else None
        p = self.p
        index = ir.IndexType.get()
        storage = code.matrix(self.element, 3)
        stats, scores = self.scratch(p.queries), self.scratch(p.queries, p.keys)
        sums, queries = self.scratch(p.queries, self.v_padded), self.scratch(p.queries, self.dims)
        row_sums = self.scratch(p.queries, self.lanes)

        pack_keys = self.define(
            "pack_keys",
            [storage, self.key_tiles, *[index] * 5],
            self.pack_keys,
            str(self.element),
            self.dims,
        )
        pack_values = self.define(
            "pack_values",
            [storage, self.value_tiles, self.scratch(code.DYNAMIC), *[index] * 5],
            self.pack_values,
            str(self.element),
            self.v_dims,
        )
        score = self.define(
            "scores",
            [queries, self.key_tiles, scores, index, index],
            self.scores,
            self.dims,
        )
        mix = self.define(
            "sums",
            [scores, self.value_tiles, sums, stats, index, index],
            self.sums,
            self.v_padded,
        )
        mix_safely = self.define(
            "safe_sums",
            [scores, self.value_tiles, sums, stats, index, index],
            self.safe_sums,
            self.v_padded,
        )
        softmax = self.define(
            "softmax",
            [scores, stats, row_sums, stats, index],
            self.softmax,
        )
        cap = self.define("cap", [scores, index], self.cap, self.softcap)

        size, rows_of, keys = code.dim(query, 0), code.dim(query, 1), code.dim(key, 1)
        rows = code.multiply(rows_of, self.repeat)
        blocks = code.ceil_div(rows, p.queries)
        tiles = code.ceil_div(keys, p.keys)
        one_block = code.less(blocks, 2)
        slots = arith.select(one_block, code.index(1), code.index(tiles))
        tiles_k = code.alloc([slots, *self.key_tiles.shape[1:]], code.f32())
        tiles_v = code.alloc([slots, *self.value_tiles.shape[1:]], code.f32())
        flags = code.alloc([slots], code.f32())
        block_q = code.alloc(queries.shape, code.f32())
        block_s = code.alloc(scores.shape, code.f32())
        block_o = code.alloc(sums.shape, code.f32())
        tops = code.alloca(stats.shape, code.f32())
        factors = code.alloca(stats.shape, code.f32())
        totals = code.alloc(row_sums.shape, code.f32())
        bad = code.alloca([1], code.f32())

        def pack(batch: ir.Value, group: ir.Value, used: Index, tile: Index, slot: Index) -> None:
            start = code.multiply(tile, p.keys)
            pack_keys(key, tiles_k, batch, group, start, used, slot)
            pack_values(value, tiles_v, flags, batch, group, start, used, slot)

        def head(batch: ir.Value, group: ir.Value) -> None:
            used: Index = keys
            if lengths is not None:
                length = arith.index_cast(index, code.load_raw(lengths, [batch]))
                # What follows a failed check must stay in bounds.
                used = code.maximum(code.minimum(length, keys), 0)
                offset: Index = code.subtract(used, rows_of)
            elif self.q_offset is not None:
                offset = code.index(self.q_offset)
            else:
                offset = code.subtract(keys, rows_of)

            def pack_all() -> None:
                end = code.ceil_div(used, p.keys)
                code.loop(0, end, 1, lambda tile: pack(batch, group, used, tile, tile))

            code.if_(one_block, lambda: None, pack_all)
            code.loop(0, rows, p.queries, lambda row: block(batch, group, used, offset, row))

        def block(
            batch: ir.Value, group: ir.Value, used: Index, offset: Index, row: ir.Value
        ) -> None:
            height = code.minimum(code.subtract(rows, row), p.queries)
            self.load_queries(query, block_q, batch, group, row, height)
            repeat = code.index(self.repeat)
            first = arith.divui(row, repeat)
            last = arith.divui(code.subtract(code.add(row, height), 1), repeat)
            low, _ = self.reach(code.add(offset, first), used)
            _, high = self.reach(code.add(offset, last), used)
            # Between these, all rows see all keys.
            inner_low, _ = self.reach(code.add(offset, last), used)
            _, inner_high = self.reach(code.add(offset, first), used)
            lowest = code.splat(-math.inf, self.lanes)
            code.loop(0, p.queries, self.lanes, lambda i: code.store(lowest, tops, [i]))
            code.store_scalar(code.scalar(0.0), bad, [0])

            def attempt(number: ir.Value) -> None:
                again = arith.cmpi(arith.CmpIPredicate.ne, number, code.index(0))
                flag = code.load_scalar(bad, [0])
                is_bad = arith.cmpf(arith.CmpFPredicate.UNO, flag, flag)
                skip = arith.andi(again, arith.xori(is_bad, code.true()))
                code.if_(skip, lambda: None, lambda: run(again))

            def run(again: ir.Value) -> None:
                self.clear(block_o, totals, height)
                begin = arith.divui(code.index(low), code.index(p.keys))
                end = code.ceil_div(high, p.keys)
                code.loop(begin, end, 1, lambda tile: visit(tile, again))

            def visit(tile: ir.Value, again: ir.Value) -> None:
                slot = arith.select(one_block, code.index(0), tile)
                code.if_(one_block, lambda: pack(batch, group, used, tile, slot))
                start = code.multiply(tile, p.keys)
                score(block_q, tiles_k, block_s, slot, height)
                if self.softcap:
                    cap(block_s, height)
                inside = arith.andi(
                    code.at_most(inner_low, start),
                    code.at_most(code.add(start, p.keys), inner_high),
                )

                def hide() -> None:
                    self.hide(block_s, mask, batch, group, row, height, start, offset, used, keys)

                if mask is not None:
                    hide()
                else:
                    code.if_(inside, lambda: None, hide)
                softmax(block_s, tops, totals, factors, height)

                def normally() -> None:
                    total = arith.addf(code.load_scalar(bad, [0]), code.load_scalar(flags, [slot]))
                    code.store_scalar(total, bad, [0])
                    mix(block_s, tiles_v, block_o, factors, slot, height)

                code.if_(
                    again,
                    lambda: mix_safely(block_s, tiles_v, block_o, factors, slot, height),
                    normally,
                )

            code.loop(0, 2, 1, attempt)
            self.finish(block_o, totals, out, batch, group, row, height)

        def all_heads(batch: ir.Value) -> None:
            code.loop(0, self.groups, 1, lambda group: head(batch, group))

        code.loop(0, size, 1, all_heads)

    def reach(self, position: Index, used: Index) -> tuple[Index, Index]:
        """The keys [low, high) that a query at ``position`` sees, mask aside; within [0, used]."""
        low: Index = 0
        if self.left >= 0:
            low = code.maximum(code.subtract(position, self.left), 0)
        ends = [used]
        if self.causal:
            ends.append(code.add(position, 1))
        if self.right >= 0:
            ends.append(code.add(code.add(position, self.right), 1))
        high = ends[0]
        for end in ends[1:]:
            high = code.minimum(high, end)
        low = code.minimum(low, used)
        return low, code.maximum(high, low)

    # -- packing -----------------------------------------------------------------------------------

    def load_queries(
        self,
        query: ir.Value,
        block: ir.Value,
        batch: ir.Value,
        group: ir.Value,
        row: ir.Value,
        height: Index,
    ) -> None:
        """Scaled queries of a block; rows to the end of the last tile are zero."""
        factor = self.scale / self.softcap if self.softcap else self.scale * math.log2(math.e)
        repeat = code.index(self.repeat)

        def one(i: ir.Value) -> None:
            pair = code.add(row, i)
            head = code.add(code.multiply(group, self.repeat), arith.remui(pair, repeat))
            start = code.multiply(head, self.dims)

            def copy(d: Index, count: Index | None) -> None:
                at = [batch, arith.divui(pair, repeat), code.add(start, d)]
                value = code.load(query, at, self.lanes, count)
                value = arith.mulf(value, code.splat(factor, self.lanes))
                code.store(value, block, [i, d], count)

            code.vectors(self.dims, self.lanes, copy)

        def zero(i: ir.Value) -> None:
            nothing = code.splat(0.0, self.lanes)
            code.vectors(self.dims, self.lanes, lambda d, n: code.store(nothing, block, [i, d], n))

        code.loop(0, height, 1, one)
        code.loop(height, code.round_up(height, self.p.rows), 1, zero)

    def pack_keys(
        self,
        key: ir.Value,
        tiles: ir.Value,
        batch: ir.Value,
        group: ir.Value,
        start: ir.Value,
        used: ir.Value,
        slot: ir.Value,
    ) -> None:
        """Transposes a tile of keys. The last key stands in for those past ``used``."""
        last = code.subtract(used, 1)
        column = code.multiply(group, self.dims)

        def strip(n: ir.Value) -> None:
            first = code.add(start, code.multiply(n, self.lanes))
            keys = [code.minimum(code.add(first, i), last) for i in range(self.lanes)]
            vectors = code.index(self.p.vectors)
            panel = arith.divui(n, vectors)
            at = code.multiply(arith.remui(n, vectors), self.lanes)

            def square(d: Index, count: int | None) -> None:
                rows = [
                    code.load(key, [batch, k, code.add(column, d)], self.lanes, count) for k in keys
                ]
                for i, row in enumerate(code.transpose(rows)[:count]):
                    code.store(row, tiles, [slot, panel, code.add(d, i), at])

            whole = self.dims - self.dims % self.lanes
            code.loop(0, whole, self.lanes, lambda d: square(d, None))
            if whole < self.dims:
                square(whole, self.dims - whole)

        code.loop(0, self.p.keys // self.lanes, 1, strip)

    def pack_values(
        self,
        value: ir.Value,
        tiles: ir.Value,
        flags: ir.Value,
        batch: ir.Value,
        group: ir.Value,
        start: ir.Value,
        used: ir.Value,
        slot: ir.Value,
    ) -> None:
        """Copies a tile of values, zeros past ``used``; the flag is NaN if one is not finite."""
        column = code.multiply(group, self.v_dims)
        count = code.minimum(code.subtract(used, start), self.p.keys)
        zero = code.splat(0.0, self.lanes)

        def copy(k: ir.Value, flag: ir.Value) -> list[ir.Value]:
            for e in range(0, self.v_padded, self.lanes):
                left = self.v_dims - e
                vector = zero
                if left > 0:
                    at = [batch, code.add(start, k), code.add(column, e)]
                    part = left if left < self.lanes else None
                    vector = code.load(value, at, self.lanes, part)
                    flag = code.fma(vector, zero, flag)
                code.store(vector, tiles, [slot, k, e])
            return [flag]

        def clear(k: ir.Value) -> None:
            for e in range(0, self.v_padded, self.lanes):
                code.store(zero, tiles, [slot, k, e])

        (flag,) = code.loop(0, count, 1, copy, [zero])
        code.loop(count, self.p.keys, 1, clear)
        code.store_scalar(code.sum_of(flag), flags, [slot])

    # -- products ----------------------------------------------------------------------------------

    def scores(
        self, block: ir.Value, tiles: ir.Value, out: ir.Value, slot: ir.Value, height: ir.Value
    ) -> None:
        def panel(n: ir.Value) -> None:
            def load(d: Index, v: int) -> ir.Value:
                return code.load(tiles, [slot, n, d, v * self.lanes], self.lanes)

            def rows(row: ir.Value) -> None:
                zeros = [code.splat(0.0, self.lanes)] * (self.p.rows * self.p.vectors)
                self.product(block, row, self.dims, load, zeros, out, code.multiply(n, self.width))

            code.loop(0, height, self.p.rows, rows)

        code.loop(0, self.p.keys // self.width, 1, panel)

    def sums(
        self,
        weights: ir.Value,
        tiles: ir.Value,
        out: ir.Value,
        factors: ir.Value,
        slot: ir.Value,
        height: ir.Value,
    ) -> None:
        def panel(e: ir.Value) -> None:
            def load(k: Index, v: int) -> ir.Value:
                return code.load(tiles, [slot, k, code.add(e, v * self.lanes)], self.lanes)

            def rows(row: ir.Value) -> None:
                inits = []
                for i in range(self.p.rows):
                    at = code.add(row, i)
                    factor = code.broadcast(code.load_scalar(factors, [at]), self.lanes)
                    for v in range(self.p.vectors):
                        before = code.load(out, [at, code.add(e, v * self.lanes)], self.lanes)
                        inits.append(arith.mulf(before, factor))
                self.product(weights, row, self.p.keys, load, inits, out, e)

            code.loop(0, height, self.p.rows, rows)

        code.loop(0, self.v_padded, self.width, panel)

    def product(
        self,
        left: ir.Value,
        row: ir.Value,
        depth: int,
        load: Any,
        inits: list[ir.Value],
        out: ir.Value,
        column: Index,
    ) -> None:
        """A register-blocked product of rows of ``left`` with what ``load`` gives."""
        p = self.p
        rows = [code.add(row, i) for i in range(p.rows)]
        unroll = 2 if depth % 2 == 0 else 1

        def step(k: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            new = list(sums)
            for u in range(unroll):
                here = code.add(k, u)
                right = [load(here, v) for v in range(p.vectors)]
                for i in range(p.rows):
                    x = code.broadcast(code.load_scalar(left, [rows[i], here]), self.lanes)
                    for v in range(p.vectors):
                        at = i * p.vectors + v
                        new[at] = code.fma(x, right[v], new[at])
            return new

        sums = code.loop(0, depth, unroll, step, inits)
        for i in range(p.rows):
            for v in range(p.vectors):
                place = [rows[i], code.add(column, v * self.lanes)]
                code.store(sums[i * p.vectors + v], out, place)

    def safe_sums(
        self,
        weights: ir.Value,
        tiles: ir.Value,
        out: ir.Value,
        factors: ir.Value,
        slot: ir.Value,
        height: ir.Value,
    ) -> None:
        """Like :meth:`sums`, but what has no weight is not looked at. Slow."""

        def row(i: ir.Value) -> None:
            factor = code.broadcast(code.load_scalar(factors, [i]), self.lanes)

            def scale(e: ir.Value) -> None:
                before = code.load(out, [i, e], self.lanes)
                code.store(arith.mulf(before, factor), out, [i, e])

            def add(k: ir.Value) -> None:
                weight = code.load_scalar(weights, [i, k])
                counts = arith.cmpf(arith.CmpFPredicate.UNE, weight, code.scalar(0.0))

                def element(e: ir.Value) -> None:
                    value = code.load(tiles, [slot, k, e], self.lanes)
                    before = code.load(out, [i, e], self.lanes)
                    total = code.fma(code.broadcast(weight, self.lanes), value, before)
                    code.store(total, out, [i, e])

                code.if_(counts, lambda: code.loop(0, self.v_padded, self.lanes, element))

            code.loop(0, self.v_padded, self.lanes, scale)
            code.loop(0, self.p.keys, 1, add)

        code.loop(0, height, 1, row)

    # -- softmax -----------------------------------------------------------------------------------

    def cap(self, scores: ir.Value, height: ir.Value) -> None:
        """Bounds scores, which are in units of the bound; then they are powers of two."""

        def some(i: ir.Value, k: ir.Value) -> None:
            bound = code.splat(self.softcap * math.log2(math.e), self.lanes)
            score = mlir_math.tanh(code.load(scores, [i, k], self.lanes))
            code.store(arith.mulf(score, bound), scores, [i, k])

        code.loop(
            0, height, 1, lambda i: code.loop(0, self.p.keys, self.lanes, lambda k: some(i, k))
        )

    def hide(
        self,
        scores: ir.Value,
        mask: ir.Value | None,
        batch: ir.Value,
        group: ir.Value,
        row: ir.Value,
        height: Index,
        start: Index,
        offset: Index,
        used: Index,
        keys: Index,
    ) -> None:
        """Adds the mask, and makes -inf of what a row does not see."""
        repeat = code.index(self.repeat)
        lowest = code.splat(-math.inf, self.lanes)

        def one(i: ir.Value) -> None:
            pair = code.add(row, i)
            query = arith.divui(pair, repeat)
            head = code.add(code.multiply(group, self.repeat), arith.remui(pair, repeat))
            low, high = self.reach(code.add(offset, query), used)

            def some(k: ir.Value) -> None:
                first = code.add(start, k)
                begin = code.maximum(code.minimum(code.subtract(low, first), self.lanes), 0)
                end = code.maximum(code.minimum(code.subtract(high, first), self.lanes), 0)
                score = code.load(scores, [i, k], self.lanes)
                visible = code.between(begin, end, self.lanes)
                if mask is not None:
                    added = self.load_mask(mask, [batch, head, query, first], keys)
                    seen = arith.cmpf(arith.CmpFPredicate.UNE, added, lowest)
                    visible = arith.andi(visible, seen)
                    log2e = code.splat(math.log2(math.e), self.lanes)
                    score = code.fma(added, log2e, score)
                code.store(arith.select(visible, score, lowest), scores, [i, k])

            code.loop(0, self.p.keys, self.lanes, some)

        code.loop(0, height, 1, one)

    def load_mask(self, mask: ir.Value, at: list[Index], keys: Index) -> ir.Value:
        """Mask elements from batch, head, query and key ``at`` on."""
        shape = mask.type.shape
        place = at[4 - len(shape) :]
        place = [0 if size == 1 else i for size, i in zip(shape, place, strict=True)]
        if not shape or shape[-1] == 1:
            return code.broadcast(code.load_scalar(mask, place), self.lanes)
        return code.load(mask, place, self.lanes, code.subtract(keys, at[-1]))

    def softmax(
        self,
        scores: ir.Value,
        tops: ir.Value,
        totals: ir.Value,
        factors: ir.Value,
        height: ir.Value,
    ) -> None:
        """Weights in place of scores; new largest scores, sums of weights, and factors for sums."""
        lowest = code.scalar(-math.inf)
        columns = range(0, self.p.keys, self.lanes)

        def row(i: ir.Value) -> None:
            values = [code.load(scores, [i, k], self.lanes) for k in columns]
            top = values[0]
            for value in values[1:]:
                top = code.larger(top, value)
            before = code.load_scalar(tops, [i])
            now = code.larger(code.largest_of(top), before)
            code.store_scalar(now, tops, [i])
            # Nothing seen so far: any number will do.
            none = arith.cmpf(arith.CmpFPredicate.OEQ, now, lowest)
            base = code.broadcast(arith.select(none, code.scalar(0.0), now), self.lanes)
            factor = code.exp2(arith.subf(code.broadcast(before, self.lanes), base))
            code.store_scalar(code.first_of(factor), factors, [i])
            total = arith.mulf(code.load(totals, [i, 0], self.lanes), factor)
            for k, value in zip(columns, values, strict=True):
                weight = code.exp2(arith.subf(value, base))
                code.store(weight, scores, [i, k])
                total = arith.addf(total, weight)
            code.store(total, totals, [i, 0])

        code.loop(0, height, 1, row)

    def clear(self, sums: ir.Value, totals: ir.Value, height: Index) -> None:
        zero = code.splat(0.0, self.lanes)

        def row(i: ir.Value) -> None:
            code.loop(0, self.v_padded, self.lanes, lambda e: code.store(zero, sums, [i, e]))
            code.store(zero, totals, [i, 0])

        code.loop(0, code.round_up(height, self.p.rows), 1, row)

    def finish(
        self,
        sums: ir.Value,
        totals: ir.Value,
        out: ir.Value,
        batch: ir.Value,
        group: ir.Value,
        row: ir.Value,
        height: Index,
    ) -> None:
        """Divides by the sums of weights; a row without any gives zeros."""
        repeat = code.index(self.repeat)

        def one(i: ir.Value) -> None:
            pair = code.add(row, i)
            head = code.add(code.multiply(group, self.repeat), arith.remui(pair, repeat))
            start = code.multiply(head, self.v_dims)
            total = code.sum_of(code.load(totals, [i, 0], self.lanes))
            zero = code.scalar(0.0)
            empty = arith.cmpf(arith.CmpFPredicate.OEQ, total, zero)
            inverse = arith.select(empty, zero, arith.divf(code.scalar(1.0), total))
            factor = code.broadcast(inverse, self.lanes)

            def copy(e: Index, count: Index | None) -> None:
                value = arith.mulf(code.load(sums, [i, e], self.lanes), factor)
                at = [batch, arith.divui(pair, repeat), code.add(start, e)]
                code.store(value, out, at, count)

            code.vectors(self.v_dims, self.lanes, copy)

        code.loop(0, height, 1, one)
