"""`rlx.embedding`: rows of a table."""

from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Invalid, Operand, Result, RlxOp
from rlx.dialects.types import expect_float, expect_ids, expect_rank, expect_type, with_shape
from rlx.host import arith, ir, linalg, tensor

__all__ = ["EmbeddingOp", "embedding"]


class EmbeddingOp(RlxOp, name="embedding"):
    """Looks up the rows of `table` [V, N] that `ids` [...] name: the result is [..., N].

    An id below 0 or at or past V is an error at run time.
    """

    EXAMPLE = """
      %x = "rlx.embedding"(%table, %ids)
        : (tensor<32000x640xbf16>, tensor<1x?xi64>) -> tensor<1x?x640xbf16>
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

    def lower(self) -> ir.Value:
        rows, width = emit.sizes(self.table)
        table = self.table
        if not isinstance(rows, int):
            some = arith.cmpi(arith.CmpIPredicate.sgt, rows, emit.index(0))
            at_least_one = arith.maxsi(rows, emit.index(1))
            message = "rlx.embedding: table must have at least one row"
            table = emit.guard(some, table, [at_least_one, width], message)
        in_table = emit.all_of(
            self.ids,
            # Unsigned, so that negative ids are too large as well.
            lambda id: arith.cmpi(arith.CmpIPredicate.ult, emit.to_index(id), emit.as_index(rows)),
        )
        emit.require(in_table, "rlx.embedding: ids must be in [0, rows of table)")

        rank = self.ids.type.rank
        last = emit.subtract(rows, 1)

        def body(id: ir.Value, _: ir.Value) -> ir.Value:
            row = emit.clamp(emit.to_index(id), 0, last)
            return tensor.extract(table, [row, linalg.IndexOp(rank).result])

        return emit.generic(
            [self.ids],
            emit.empty([*emit.sizes(self.ids), width], table.type.element_type),
            [emit.axes(rank), emit.axes(rank + 1)],
            "p" * (rank + 1),
            body,
        )


def embedding(table: ir.Value, ids: ir.Value) -> ir.Value:
    """Builds `rlx.embedding`; see :class:`EmbeddingOp`."""
    return EmbeddingOp.create(table, ids)
