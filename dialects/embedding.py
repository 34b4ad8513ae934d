"""`rlx.embedding`: rows of a table."""

from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Invalid, Operand, Result, RlxOp
from rlx.dialects.types import expect_float, expect_ids, expect_rank, expect_type, with_shape
from rlx.host import ir

__all__ = ["EmbeddingOp", "embedding"]


class EmbeddingOp(RlxOp, name="embedding"):
    """Looks up the rows of `table` [V, N] that `ids` [...] name: the result is [..., N].

    An id below 0 or at or past V is an error at run time.
    """

    table: Operand
    ids: Operand
    result: Result

    def verify_op(self) -> None:
        expect_rank("table", self.table, 2)
        expect_float("table", self.table)
        expect_ids("ids", self.ids)
        if self.table.type.shape[0] == 0:
            raise Invalid(f"expects table with at least one row, but got {self.table.type}")
        expect_type(self.operation.results[0].type, self.result_type(self.table, self.ids))

    @classmethod
    def result_type(cls, table: ir.Value, ids: ir.Value, **_: Any) -> ir.Type:
        return with_shape(table.type, [*ids.type.shape, table.type.shape[1]])

    @staticmethod
    def reference(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
        if np.any((ids < 0) | (ids >= table.shape[0])):
            raise IndexError(f"an id is outside [0, {table.shape[0]})")
        return table[ids]


def embedding(table: ir.Value, ids: ir.Value) -> ir.Value:
    """Builds `rlx.embedding`; see :class:`EmbeddingOp`."""
    return EmbeddingOp.create(table, ids)
