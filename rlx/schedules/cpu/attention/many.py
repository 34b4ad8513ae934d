"""Attention of many rows: blocks of queries, and tiles of keys and values that are packed once."""

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention.blocks import Block
from rlx.schedules.cpu.attention.inputs import Attention
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.steps import TileSteps
from rlx.schedules.cpu.code import Index, Kernel, Kernels

__all__ = ["many"]

# Blocks that there should be for every thread, so that all have about the same to do.
_BLOCKS = 4
_FLOPS = 100  # per nanosecond, about


def many(a: Problem, kernels: Kernels) -> Kernel:
    """The kernel; it takes the buffers of the op and that of the result."""
    name = kernels.name("rlx_attention", a.key)
    whole = _Many(a, kernels, name)
    return kernels.define(name, whole.types, whole.body)


class _Many(Attention):
    """The kernel and its parts.

    Some heads at a time are packed and then computed: threads share the work of both. Where a head
    has one block, that packs for itself.
    """

    def __init__(self, a: Problem, kernels: Kernels, name: str):
        super().__init__(a, kernels)
        self.name = name

    def body(self, *buffers: ir.Value) -> None:
        a, kernels = self.a, self.kernels
        self.steps = TileSteps(a, kernels)
        *inputs, out = buffers
        size, queries = code.dim(inputs[0], 0), code.dim(inputs[0], 1)
        keys = code.dim(inputs[1], 1)
        rows = code.multiply(queries, a.repeat)
        blocks, tiles = code.ceil_div(rows, a.block), code.ceil_div(keys, a.p.keys)
        heads = code.multiply(size, a.groups)
        products = code.multiply(code.multiply(heads, rows), keys)
        work = arith.divui(code.multiply(products, 2 * (a.dims + a.v_dims)), code.index(_FLOPS))
        parts = kernels.parts(code.multiply(heads, blocks), work)
        at_once: Index = 1
        if not isinstance(parts, int):
            enough = code.multiply(parts, _BLOCKS)
            at_once = arith.ceildivui(enough, code.index(code.maximum(blocks, 1)))
            at_once = arith.select(code.less(1, parts), at_once, code.index(1))
        # One block packs for itself, into the memory of its part.
        one_block = code.less(blocks, 2)
        at_once = arith.select(one_block, heads, code.index(at_once))
        slots = arith.select(
            one_block, code.index(parts), code.index(code.multiply(at_once, tiles))
        )
        memory = [
            code.alloc([slots, *type_.shape[1:]], code.f32())
            for type_ in (a.key_tiles, a.value_tiles)
        ]
        index = ir.IndexType.get()
        types = [*self.inputs, a.key_tiles, a.value_tiles, index]
        pack = kernels.parallel(f"{self.name}_pack", types, self.pack)
        run = kernels.parallel(f"{self.name}_blocks", [*types, index, a.storage], self.run)

        def some(first: ir.Value) -> None:
            count = code.minimum(code.subtract(heads, first), at_once)
            given = [*inputs, *memory, first]

            def pack_all() -> None:
                pack(parts, code.multiply(count, tiles), *given)

            code.if_(one_block, lambda: None, pack_all)
            run(parts, code.multiply(count, blocks), *given, parts, out)

        code.loop(0, heads, code.maximum(at_once, 1), some)

    def pack(self, part: ir.Value, low: ir.Value, high: ir.Value, *arguments: ir.Value) -> None:
        """Packs tiles ``low`` to ``high`` of the heads from a first one on."""
        a = self.a
        *inputs, keys, values, first = arguments
        given = self.named(inputs)
        tiles = code.index(code.ceil_div(given["keys"], a.p.keys))

        def one(slot: ir.Value) -> None:
            head = code.add(first, arith.divui(slot, tiles))
            self.pack_tile(given, (keys, values), head, arith.remui(slot, tiles), slot)

        code.loop(low, high, 1, one)

    def pack_tile(
        self,
        given: dict[str, ir.Value],
        tiles: tuple[ir.Value, ir.Value],
        head: Index,
        tile: ir.Value,
        slot: ir.Value,
    ) -> None:
        a = self.a
        batch, group = self.place(head)
        used, _ = self.extent(given, batch, code.dim(given["query"], 1))
        start = code.multiply(tile, a.p.keys)
        where = [batch, group, start, used, slot]

        def pack() -> None:
            self.steps.pack_keys(given["key"], tiles[0], *where, *given["key_tables"])
            self.steps.pack_values(given["value"], tiles[1], *where)

        code.if_(code.less(start, used), pack)

    def run(self, part: ir.Value, low: ir.Value, high: ir.Value, *arguments: ir.Value) -> None:
        """Computes blocks ``low`` to ``high`` of the heads from a first one on."""
        a = self.a
        *inputs, keys, values, first, parts, out = arguments
        given = self.named(inputs)
        queries = code.dim(given["query"], 1)
        rows = code.multiply(queries, a.repeat)
        blocks = code.ceil_div(rows, a.block)
        tiles = code.index(code.ceil_div(given["keys"], a.p.keys))
        one_block = code.less(blocks, 2)
        block = Block(self.steps, given | {"out": out}, (keys, values))

        def first_row(number: ir.Value) -> Index:
            own = arith.remui(number, code.index(blocks))
            # Alone, one after the other: they see much the same keys.
            own = arith.select(code.less(1, parts), self.turn(own, blocks), own)
            return code.multiply(own, a.block)

        def one(number: ir.Value) -> None:
            place = arith.divui(number, code.index(blocks))
            head = code.add(first, place)
            batch, group = self.place(head)
            used, offset = self.extent(given, batch, queries)
            row, later = first_row(number), first_row(code.add(number, 1))
            height = code.minimum(code.subtract(rows, row), a.block)

            def fetch(tile: ir.Value) -> ir.Value:
                def pack() -> list[ir.Value]:
                    self.pack_tile(given, (keys, values), head, tile, part)
                    return [part]

                at = code.add(arith.muli(place, tiles), tile)
                return code.if_(one_block, pack, lambda: [at], [ir.IndexType.get()])[0]

            block.run(batch, group, used, offset, row, height, later, fetch)

        code.loop(low, high, 1, one)

    def turn(self, number: ir.Value, blocks: Index) -> ir.Value:
        """The first, the last, the second and so on: causal blocks differ in how much they see."""
        half = arith.divui(number, code.index(2))
        from_end = code.subtract(code.subtract(blocks, 1), half)
        odd = arith.cmpi(arith.CmpIPredicate.ne, arith.remui(number, code.index(2)), code.index(0))
        return arith.select(odd, code.index(from_end), half)
