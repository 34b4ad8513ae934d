"""Types of buffers, and what kernels of attention with AMX know when they are made.

A block has `ROWS` rows, pairs of a query and a head of the group, and looks at up to `KEYS` keys at
a time. In memory:

* queries, [16 rows, 32 dims, row, dim] in bf16;
* keys in pairs, [16 keys, 32 dims, pair of dims, 2 * key]: transposed;
* values in pairs, [32 keys, 16 dims, pair of keys, 2 * dim];
* scores, [16 rows, 16 keys, row, key] in f32, and weights, [16 rows, 32 keys, row, key] in bf16;
* sums, [16 rows, 16 dims, row, dim] in f32.
"""

import math
from dataclasses import dataclass

from rlx.host import arith, ir
from rlx.schedules.cpu import bf16, code
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.code import Index

__all__ = ["KEYS", "LOG2E", "ROWS", "WIDTH", "Shapes", "factor", "is_plain", "within"]

ROWS = 2 * SIDE
KEYS = 512
WIDTH = 64  # dims of values at a time, where rows are few
LOG2E = math.log2(math.e)


@dataclass(frozen=True)
class Shapes:
    """Types of buffers, and how many tiles there are in a row."""

    a: Problem

    @property
    def depth(self) -> int:
        """Tiles of the dims of a key."""
        return -(-self.a.dims // DEPTH)

    @property
    def width(self) -> int:
        """Tiles of the dims of a value: an even number."""
        return 2 * -(-self.a.v_dims // (2 * SIDE))

    @property
    def decode_width(self) -> int:
        """Dims of sums where rows are few."""
        return -(-self.a.v_dims // WIDTH) * WIDTH

    @staticmethod
    def _pairs(*shape: int) -> ir.MemRefType:
        return ir.MemRefType.get([*shape, SIDE, DEPTH], bf16.bf16())

    @staticmethod
    def _wide(*shape: int) -> ir.MemRefType:
        return ir.MemRefType.get(list(shape), code.f32())

    @property
    def queries(self) -> ir.MemRefType:
        return self._pairs(ROWS // SIDE, self.depth)

    @property
    def keys(self) -> ir.MemRefType:
        return self._pairs(code.DYNAMIC, self.depth)

    @property
    def values(self) -> ir.MemRefType:
        return self._pairs(code.DYNAMIC, self.width)

    @property
    def flags(self) -> ir.MemRefType:
        """For 32 values each: NaN where one is not finite."""
        return self._wide(code.DYNAMIC)

    @property
    def scores(self) -> ir.MemRefType:
        return self._wide(ROWS // SIDE, KEYS // SIDE, SIDE, SIDE)

    @property
    def weights(self) -> ir.MemRefType:
        return self._pairs(ROWS // SIDE, KEYS // DEPTH)

    @property
    def sums(self) -> ir.MemRefType:
        return self._wide(ROWS // SIDE, self.width, SIDE, SIDE)

    @property
    def stats(self) -> ir.MemRefType:
        """A number per row."""
        return self._wide(ROWS)

    @property
    def totals(self) -> ir.MemRefType:
        """Sums of weights, in 16 parts."""
        return self._wide(ROWS, SIDE)


def within(i: Index) -> tuple[Index, Index]:
    """The tile of a row, key or dim, and its place there."""
    if isinstance(i, int):
        return i // SIDE, i % SIDE
    return arith.divui(i, code.index(SIDE)), arith.remui(i, code.index(SIDE))


def factor(a: Problem) -> float:
    """What makes powers of two of scores, where nothing else has to be done to them; else 1."""
    return a.scale * LOG2E if is_plain(a) else 1.0


def is_plain(a: Problem) -> bool:
    """Whether the order of scores is that of products of queries and keys."""
    return a.scale > 0 and not a.softcap and a.mask is None
