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
from rlx.host import ir

__all__ = ["KvAppendOp", "kv_append"]


class KvAppendOp(RlxOp, name="kv_append"):
    """Writes `update` [B, S, W] into `cache` [B, K, W] behind the rows that are in use.

    Row i of batch b goes to row `lengths[b] + i`; all other rows are kept. The result is the whole
    cache; bufferization writes in place when the cache may be written. A negative length, or one
    with `lengths[b] + S > K`, is an error at run time.
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


def kv_append(cache: ir.Value, update: ir.Value, lengths: ir.Value) -> ir.Value:
    """Builds `rlx.kv_append`; see :class:`KvAppendOp`."""
    return KvAppendOp.create(cache, update, lengths)
