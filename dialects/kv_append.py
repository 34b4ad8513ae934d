"""`rlx.kv_append`: new keys or values at the end of a cache."""

from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Invalid, Operand, Result, RlxOp
from rlx.dialects.types import (
    compatible,
    expect_element_type,
    expect_float,
    expect_ids,
    expect_rank,
    expect_type,
    is_static,
)
from rlx.host import arith, ir, scf, tensor

__all__ = ["KvAppendOp", "kv_append"]


class KvAppendOp(RlxOp, name="kv_append"):
    """Writes `update` [B, S, W] into `cache` [B, K, W] behind the rows that are in use.

    Row i of batch b goes to row `lengths[b] + i`; all other rows are kept. The result is the whole
    cache; bufferization writes in place when the cache may be written. A negative length, or one
    with `lengths[b] + S > K`, is an error at run time.
    """

    EXAMPLE = """
      %grown = "rlx.kv_append"(%cache, %update, %lengths)
        : (tensor<2x4096x256xbf16>, tensor<2x1x256xbf16>, tensor<2xi32>) -> tensor<2x4096x256xbf16>
    """

    cache: Operand
    update: Operand
    lengths: Operand
    result: Result

    def verify_op(self) -> None:
        cache, update, lengths = self.cache, self.update, self.lengths
        expect_rank("cache", cache, 3)
        expect_float("cache", cache)
        expect_rank("update", update, 3)
        expect_element_type("update", update, cache.type.element_type)
        expect_rank("lengths", lengths, 1)
        expect_ids("lengths", lengths)
        batch, rows, width = cache.type.shape
        if not compatible(update.type.shape[0], batch) or not compatible(
            update.type.shape[2], width
        ):
            raise Invalid(
                f"expects update with batch and width of cache {cache.type}, but got {update.type}"
            )
        if not compatible(lengths.type.shape[0], batch):
            raise Invalid(f"expects lengths of size {batch}, but got {lengths.type}")
        new = update.type.shape[1]
        if is_static(new) and is_static(rows) and new > rows:
            raise Invalid(f"expects update of at most {rows} rows, but got {update.type}")
        expect_type(self.operation.results[0].type, cache.type)

    @classmethod
    def result_type(cls, cache: ir.Value, update: ir.Value, lengths: ir.Value, **_: Any) -> ir.Type:
        return cache.type

    @staticmethod
    def reference(cache: np.ndarray, update: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        result, new = cache.copy(), update.shape[1]
        for row, rows, start in zip(result, update, lengths.tolist(), strict=True):
            if not 0 <= start <= cache.shape[1] - new:
                raise IndexError(
                    f"length {start} leaves no room for {new} rows in a cache of {cache.shape[1]}"
                )
            row[start : start + new] = rows
        return result

    def fitting_operands(self) -> tuple[ir.Value, ir.Value]:
        """update and lengths, whose sizes and contents are made sure to fit the cache."""
        batch, rows, width = emit.sizes(self.cache)
        new = emit.dim(self.update, 1)
        update = emit.fit(
            self.update,
            [batch, new, width],
            "rlx.kv_append: update must have the batch and width of cache",
        )
        lengths = emit.fit(
            self.lengths, [batch], "rlx.kv_append: lengths must have one element per batch"
        )
        free = emit.subtract(rows, new)
        first, last = emit.index(0), emit.as_index(free)

        def has_room(length: ir.Value) -> ir.Value:
            at = emit.to_index(length)
            return arith.andi(
                arith.cmpi(arith.CmpIPredicate.sge, at, first),
                arith.cmpi(arith.CmpIPredicate.sle, at, last),
            )

        emit.require(
            emit.all_of(lengths, has_room),
            "rlx.kv_append: lengths must be >= 0 and leave room for update in cache",
        )
        return update, lengths

    def lower(self) -> ir.Value:
        batch, rows, width = emit.sizes(self.cache)
        new = emit.dim(self.update, 1)
        update, lengths = self.fitting_operands()
        fits = emit.smaller(new, rows)
        end = emit.subtract(rows, fits)
        loop = scf.ForOp(emit.index(0), emit.as_index(batch), emit.index(1), [self.cache])
        b, cache = loop.body.arguments
        with ir.InsertionPoint(loop.body):
            at = emit.clamp(emit.to_index(tensor.extract(lengths, [b])), 0, end)
            row = emit.extract_slice(update, [b, 0, 0], [1, fits, width])
            # A slice written into the loop-carried cache bufferizes in place.
            scf.yield_([emit.insert_slice(row, cache, [b, at, 0])])
        return loop.results[0]


def kv_append(cache: ir.Value, update: ir.Value, lengths: ir.Value) -> ir.Value:
    """Builds `rlx.kv_append`; see :class:`KvAppendOp`."""
    return KvAppendOp.create(cache, update, lengths)
