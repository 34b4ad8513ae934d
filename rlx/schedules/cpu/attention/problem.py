"""What attention kernels know when they are made: sizes, attributes and types."""

import math
from dataclasses import dataclass, replace
from typing import Any

from rlx.dialects.attention import AttentionOp
from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention.rotation import Rotation, marked
from rlx.schedules.cpu.code import Index
from rlx.schedules.cpu.isa import Isa

__all__ = ["FEW", "Parameters", "Problem", "parameters"]


@dataclass(frozen=True)
class Parameters:
    """Sizes of blocks.

    Attributes:
        rows, vectors: the products keep rows x vectors registers of sums.
        queries: rows of a slice, a multiple of ``rows`` and of the lanes. What a slice has to do
            with a tile is done before the next slice: its scores stay in the nearest cache.
        slices: how many of them a block has, at most.
        keys: keys of a tile, a multiple of the columns of a product.
    """

    rows: int
    vectors: int
    queries: int
    slices: int
    keys: int


_PARAMETERS = {
    "avx512": Parameters(rows=8, vectors=2, queries=16, slices=8, keys=128),
    "avx2": Parameters(rows=6, vectors=2, queries=48, slices=2, keys=128),
}

FEW = 24
"""So many rows are few: pairs of a query and one of the heads that share a key."""

_FAR = 2**61  # no window at or above it hides anything


def parameters(isa: Isa) -> Parameters:
    return _PARAMETERS[isa.name]


@dataclass(frozen=True)
class Problem:
    """Attention but for what comes at run time: batch, length of queries and of keys.

    Attributes:
        isa, p: what the code is made for.
        element: type of queries, keys and values in memory.
        groups: heads of keys and values.
        repeat: query heads that share one of them.
        dims, v_dims: width of a head of keys, and of values.
        causal, left, right, scale, softcap, q_offset: as in `rlx.attention`; a window that hides
            nothing is -1.
        query_rotation, key_rotation: what is still to be done to queries and keys.
        mask: type of the buffer of the mask, which is in f32; None without.
        lengths: type of the buffer of lengths; None without.
    """

    isa: Isa
    p: Parameters
    element: ir.Type
    groups: int
    repeat: int
    dims: int
    v_dims: int
    causal: bool
    left: int
    right: int
    scale: float
    softcap: float
    q_offset: int | None
    query_rotation: Rotation | None
    key_rotation: Rotation | None
    mask: ir.MemRefType | None
    lengths: ir.MemRefType | None

    @staticmethod
    def of(op: AttentionOp, isa: Isa) -> "Problem":
        rotations = []
        for value in (op.query, op.key):
            turned = marked(value)
            rotations.append(None if turned is None else Rotation.of(turned))
        lengths = op.kv_lengths
        return Problem(
            isa=isa,
            p=parameters(isa),
            element=op.query.type.element_type,
            groups=op.num_kv_heads,
            repeat=op.num_heads // op.num_kv_heads,
            dims=op.head_dim,
            v_dims=op.v_head_dim,
            causal=op.causal,
            left=op.left_window if op.left_window < 2 * _FAR else -1,
            right=op.right_window if op.right_window < 2 * _FAR else -1,
            scale=op.scale,
            softcap=op.softcap,
            q_offset=op.q_offset,
            query_rotation=rotations[0],
            key_rotation=rotations[1],
            mask=None if op.mask is None else _mask_type(op.mask.type),
            lengths=None if lengths is None else code.matrix(lengths.type.element_type, 1),
        )

    def for_few(self, rows: Index) -> "Problem":
        """The same with blocks for at most :data:`FEW` rows."""
        least = rows if isinstance(rows, int) else self.repeat
        at_once = 1 if least == 1 else 2 if least == 2 else 4
        p = replace(self.p, rows=at_once, vectors=1, queries=code.round_up(FEW, self.lanes))
        return replace(self, p=p)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for problems that one kernel serves."""
        rotations = (r and r.key for r in (self.query_rotation, self.key_rotation))
        plain = (self.groups, self.repeat, self.dims, self.v_dims, self.causal, self.left)
        rest = (self.right, self.scale, self.softcap, self.q_offset, *rotations)
        types = (str(self.element), str(self.mask), str(self.lengths))
        return (self.isa.name, *plain, *rest, *types)

    @property
    def lanes(self) -> int:
        return self.isa.lanes

    @property
    def width(self) -> int:
        """Columns of a product."""
        return self.p.vectors * self.isa.lanes

    @property
    def v_padded(self) -> int:
        return -(-self.v_dims // self.width) * self.width

    @property
    def block(self) -> int:
        """Rows of a block."""
        return self.p.queries * self.p.slices

    @property
    def strips(self) -> int:
        """How many times a slice has the rows of a product."""
        return self.p.queries // self.p.rows

    # -- buffers -----------------------------------------------------------------------------------

    @property
    def storage(self) -> ir.MemRefType:
        return code.matrix(self.element, 3)

    def scratch(self, *shape: int) -> ir.MemRefType:
        return ir.MemRefType.get(list(shape), code.f32())

    def part(self, *shape: int) -> ir.MemRefType:
        """A contiguous part of a larger buffer."""
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        layout = ir.Attribute.parse(f"strided<{strides}, offset: ?>")
        return ir.MemRefType.get(list(shape), code.f32(), layout)

    @property
    def key_tiles(self) -> ir.MemRefType:
        """[tile, panel, dim, key of the panel]"""
        return self.scratch(code.DYNAMIC, self.p.keys // self.width, self.dims, self.width)

    @property
    def value_tiles(self) -> ir.MemRefType:
        """[tile, panel, key, dim of the panel]"""
        panels = self.v_padded // self.width
        return self.scratch(code.DYNAMIC, panels, self.p.keys, self.width)

    @property
    def queries(self) -> ir.MemRefType:
        return self.part(self.p.queries, self.dims)

    @property
    def scores(self) -> ir.MemRefType:
        return self.part(self.p.queries, self.p.keys)

    @property
    def sums(self) -> ir.MemRefType:
        return self.part(self.p.queries, self.v_padded)

    @property
    def stats(self) -> ir.MemRefType:
        """A number per row."""
        return self.part(self.p.queries)

    @property
    def totals(self) -> ir.MemRefType:
        """Sums of weights, in as many parts as a vector has lanes."""
        return self.part(self.p.queries, self.lanes)

    @property
    def spans(self) -> ir.MemRefType:
        """What a strip sees of a tile: the first key, the one after the last, whether it is new.

        It is new, 1 and not 0, if the strip has not seen any key of the tiles before.
        """
        return ir.MemRefType.get([self.strips, 3], ir.IndexType.get())

    # -- meaning -----------------------------------------------------------------------------------

    def pair(self, group: Index, number: Index) -> tuple[ir.Value, Index]:
        """The query and the head that a row of a group stands for."""
        repeat, number = code.index(self.repeat), code.index(number)
        head = code.add(code.multiply(group, self.repeat), arith.remui(number, repeat))
        return arith.divui(number, repeat), head

    def reach(self, position: Index, used: Index) -> tuple[Index, Index]:
        """The keys [low, high) that a query at ``position`` sees, mask aside; within [0, used]."""
        low: Index = 0
        if self.left >= 0:
            low = code.maximum(code.subtract(position, self.left), 0)
        high = used
        if self.causal:
            high = code.minimum(high, code.add(position, 1))
        if self.right >= 0:
            high = code.minimum(high, code.add(code.add(position, self.right), 1))
        low = code.minimum(low, used)
        return low, code.maximum(high, low)


def _mask_type(type_: ir.RankedTensorType) -> ir.MemRefType:
    """Axes of size 1, which are repeated, and others."""
    plain = code.matrix(type_.element_type, type_.rank)
    shape = [1 if size == 1 else code.DYNAMIC for size in type_.shape]
    return ir.MemRefType.get(shape, type_.element_type, plain.layout)
