"""The kernel of an attention op with AMX: heads of keys and blocks of rows."""

from typing import Any

from rlx.dialects import emit
from rlx.dialects.attention import AttentionOp
from rlx.host import arith, ir
from rlx.schedules.cpu import amx, bf16, code
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.amx_attention import copies
from rlx.schedules.cpu.amx_attention.block import Block
from rlx.schedules.cpu.amx_attention.decode import Decode, suits
from rlx.schedules.cpu.amx_attention.shapes import KEYS, ROWS, Shapes
from rlx.schedules.cpu.attention.inputs import Attention, operands
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.rotation import before
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import ISAS, Isa

__all__ = ["build"]

_AT_ONCE = 128  # keys that are copied at a time: a multiple of DEPTH


def build(op: AttentionOp, kernels: Kernels, isa: Isa) -> ir.Value:
    """Emits buffers and the call for an op in the form for kernels; returns the result."""
    problem = Problem.of(op, ISAS["avx512"])
    shape = emit.sizes(before(op.query))
    shape[2] = op.num_heads * op.v_head_dim
    result = code.alloc(shape, problem.element)
    whole = _Attention(problem, kernels)
    rows = code.multiply(emit.sizes(before(op.query))[1], problem.repeat)
    run = whole.for_rows(rows if isinstance(rows, int) else None)
    amx.permit(kernels)
    run(*map(code.to_buffer, operands(op)), result)
    return code.to_tensor(result)


class _Attention(Attention):
    """The kernel of a problem: its arguments, and what it does with them."""

    def __init__(self, a: Problem, kernels: Kernels):
        super().__init__(a, kernels)
        self.s = Shapes(a)

    def define(self, build: Any, types: list[ir.Type], *key: Any, what: str = "amx") -> Kernel:
        """A kernel for a step; problems that are the same in ``key``, if given, share it."""
        name = self.kernels.name(f"rlx_attention_{what}_{build.__name__}", key or self.a.key)
        return self.kernels.define(name, types, lambda *given: build(self.s, *given))

    def parallel(self, what: str, types: list[ir.Type], build: Any) -> Kernel:
        name = self.kernels.name(f"rlx_attention_amx_{what}", self.a.key)
        return self.kernels.parallel(name, types, build)

    # -- loops -------------------------------------------------------------------------------------

    def for_rows(self, rows: int | None) -> Kernel:
        """The kernel for so many rows of a head, or for any number."""
        ways = {"several": self.several}
        if rows is None or rows <= ROWS:
            ways["one"] = self.one
        if (rows is None or rows <= SIDE) and suits(self.a):
            ways["few"] = self.few
        # The last one is the best for the rows it is for.
        chosen = list(ways) if rows is None else list(ways)[-1:]

        def body(*buffers: ir.Value) -> None:
            most = {"few": SIDE, "one": ROWS}
            rows = code.multiply(code.dim(buffers[0], 1), self.a.repeat)

            def choose(names: list[str]) -> None:
                *others, name = names
                if not others:
                    ways[name](*buffers)
                    return
                fits = code.at_most(rows, most[name])
                code.if_(fits, lambda: ways[name](*buffers), lambda: choose(others))

            choose(chosen)

        name = self.kernels.name("rlx_attention_amx", (*self.a.key, *chosen))
        return self.kernels.define(name, self.types, body)

    def sizes(self, buffers: tuple[ir.Value, ...]) -> tuple[Index, Index, Index, Index]:
        """Heads of keys, rows of one, keys, and elements of all keys and values."""
        given = self.named(buffers)
        heads = code.multiply(code.dim(given["query"], 0), self.a.groups)
        rows = code.multiply(code.dim(given["query"], 1), self.a.repeat)
        keys = given["keys"]
        elements = code.multiply(code.multiply(heads, keys), self.a.dims + self.a.v_dims)
        return heads, rows, keys, elements

    def several(self, *buffers: ir.Value) -> None:
        """Several blocks for a head."""
        s = self.s
        types = [*self.types, s.keys, s.values, s.flags]
        copy = self.parallel("copies", types, self.copies)
        run = self.parallel("blocks", types, self.blocks)
        heads, rows, keys, elements = self.sizes(buffers)
        chunks = code.multiply(heads, code.ceil_div(keys, _AT_ONCE))
        tiles = code.multiply(heads, code.ceil_div(keys, DEPTH))
        packed = [
            code.alloc([code.multiply(tiles, 2), s.depth, SIDE, DEPTH], bf16.bf16()),
            code.alloc([tiles, s.width, SIDE, DEPTH], bf16.bf16()),
            code.alloc([tiles], code.f32()),
        ]
        parts = self.kernels.parts(chunks, arith.divui(code.index(elements), code.index(8)))
        copy(parts, chunks, *buffers, *packed)
        count = code.multiply(heads, code.ceil_div(rows, ROWS))
        parts = self.kernels.parts(count, _products(rows, elements))
        run(parts, count, *buffers, *packed)

    def one(self, *buffers: ir.Value) -> None:
        """One block for a head."""
        run = self.parallel("heads", self.types, self.heads)
        heads, rows, _, elements = self.sizes(buffers)
        run(self.kernels.parts(heads, _products(rows, elements)), heads, *buffers)

    def few(self, *buffers: ir.Value) -> None:
        heads, _, _, elements = self.sizes(buffers)
        # Memory sets the pace: about 20 bytes in a nanosecond.
        Decode(self).emit(heads, arith.divui(code.index(elements), code.index(10)), list(buffers))

    def copiers(self) -> Any:
        """Copies keys and values from ``start`` to ``end`` of a head to tiles, from 32 x ``to``."""
        a, s = self.a, self.s
        index = [ir.IndexType.get()] * 6
        turn = [] if a.key_rotation is None else a.key_rotation.types
        turned = a.key_rotation and a.key_rotation.key
        pack_keys = self.define(
            copies.pack_keys, [a.storage, s.keys, *index, *turn], a.dims, turned
        )
        pack_values = self.define(
            copies.pack_values, [a.storage, s.values, s.flags, *index], a.v_dims
        )

        def copy(
            given: dict[str, Any],
            tiles: list[ir.Value],
            batch: ir.Value,
            group: ir.Value,
            start: Index,
            end: Index,
            used: Index,
            to: Index,
        ) -> None:
            where = [batch, group, start, end, used]
            twice = code.multiply(to, 2)
            pack_keys(given["key"], tiles[0], *where, twice, *given["key_tables"])
            pack_values(given["value"], tiles[1], tiles[2], *where, to)

        return copy

    def copies(self, part: ir.Value, low: ir.Value, high: ir.Value, *buffers: ir.Value) -> None:
        """Chunks [low, high) of the keys and values of all heads."""
        given, tiles = self.named(list(buffers[:-3])), list(buffers[-3:])
        keys = given["keys"]
        chunks = code.index(code.ceil_div(keys, _AT_ONCE))
        per_head = code.ceil_div(keys, DEPTH)
        copy = self.copiers()

        def chunk(number: ir.Value) -> None:
            head = arith.divui(number, chunks)
            start = code.multiply(arith.remui(number, chunks), _AT_ONCE)
            batch, group = self.place(head)
            used, _ = self.extent(given, batch, code.dim(given["query"], 1))
            end = code.minimum(code.round_up(used, DEPTH), code.add(start, _AT_ONCE))
            to = code.add(
                code.multiply(head, per_head), arith.divui(code.index(start), code.index(DEPTH))
            )
            is_used = code.less(start, used)
            code.if_(is_used, lambda: copy(given, tiles, batch, group, start, end, used, to))

        code.loop(low, high, 1, chunk)

    def blocks(self, part: ir.Value, low: ir.Value, high: ir.Value, *buffers: ir.Value) -> None:
        """Blocks [low, high) of the rows of all heads."""
        given, tiles = self.named(list(buffers[:-3])), list(buffers[-3:])
        rows_of = code.dim(given["query"], 1)
        rows = code.multiply(rows_of, self.a.repeat)
        per_head = code.index(code.ceil_div(rows, ROWS))
        tiles_per_head = code.ceil_div(given["keys"], DEPTH)
        block = Block(self, given)

        def one(number: ir.Value) -> None:
            head, i = arith.divui(number, per_head), arith.remui(number, per_head)
            # Late blocks see more keys: an early one and a late one in turn.
            half = arith.divui(i, code.index(2))
            is_odd = arith.cmpi(
                arith.CmpIPredicate.eq, arith.remui(i, code.index(2)), code.index(1)
            )
            late = code.subtract(code.subtract(per_head, 1), half)
            row = code.multiply(arith.select(is_odd, late, half), ROWS)
            batch, group = self.place(head)
            used, offset = self.extent(given, batch, rows_of)
            first = code.multiply(head, tiles_per_head)
            height = code.minimum(code.subtract(rows, row), ROWS)

            def fetch(start: ir.Value, end: Index) -> tuple[list[ir.Value], Index]:
                return tiles, code.add(first, arith.divui(start, code.index(DEPTH)))

            block.run(batch, group, used, offset, row, height, fetch)

        code.loop(low, high, 1, one)

    def heads(self, part: ir.Value, low: ir.Value, high: ir.Value, *buffers: ir.Value) -> None:
        """Heads [low, high), whose rows are one block."""
        given, s = self.named(list(buffers)), self.s
        rows_of = code.dim(given["query"], 1)
        tiles = [
            code.alloc([KEYS // SIDE, s.depth, SIDE, DEPTH], bf16.bf16()),
            code.alloc([KEYS // DEPTH, s.width, SIDE, DEPTH], bf16.bf16()),
            code.alloc([KEYS // DEPTH], code.f32()),
        ]
        block, copy = Block(self, given), self.copiers()

        def one(head: ir.Value) -> None:
            batch, group = self.place(head)
            used, offset = self.extent(given, batch, rows_of)

            def fetch(start: ir.Value, end: Index) -> tuple[list[ir.Value], Index]:
                copy(given, tiles, batch, group, start, end, used, 0)
                return tiles, 0

            height = code.multiply(rows_of, self.a.repeat)
            block.run(batch, group, used, offset, code.index(0), height, fetch)

        code.loop(low, high, 1, one)


def _products(rows: Index, elements: Index) -> ir.Value:
    """Nanoseconds for products with rows: a multiplication and an addition for 400 in each."""
    return arith.divui(code.index(code.multiply(rows, elements)), code.index(400))
