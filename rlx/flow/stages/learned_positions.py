"""Positions as rows of a table."""

from dataclasses import dataclass

from rlx.dialects import emit
from rlx.dialects.embedding import embedding
from rlx.flow.context import FlowContext, FlowValue
from rlx.host import arith, ir, linalg

__all__ = ["LearnedPositionsStage"]


@dataclass(frozen=True)
class LearnedPositionsStage:
    """Adds a row of a table to each row of hidden states [B, S, hidden], by its position.

    Positions are those of an earlier stage, or else rows count from 0.

    Attributes:
        weight_key: the table [positions, hidden].
        shape: its expected shape; None for any.
    """

    weight_key: str
    shape: tuple[int, int] | None = None

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        hidden = ctx.need(value)
        if len(hidden.shape) != 3:
            raise ctx.error(f"expects hidden states [B, S, hidden], but got {hidden.type}")
        x, element = hidden.value, hidden.element_type
        shape = self.shape or [None, hidden.shape[2]]
        table = ctx.param(self.weight_key, shape, "positions, hidden_size")
        positions = ctx.state.positions
        if positions is None:
            positions = _count(emit.dim(x, 1))
        rows = embedding(table, positions)
        axes = emit.axes(3)
        wanted = emit.sizes(x)[3 - rows.type.rank :]
        rows = emit.fit(rows, wanted, f"'{self.weight_key}': expected a position for each row")
        added = emit.generic(
            [x, rows],
            emit.empty(emit.sizes(x), element),
            [axes, axes[3 - rows.type.rank :], axes],
            "ppp",
            lambda a, b, _: arith.addf(a, b),
        )
        return FlowValue(added)

    def place(self) -> str:
        return self.weight_key


def _count(size: emit.Size) -> ir.Value:
    """The numbers from 0 to ``size - 1``."""
    integer = ir.IntegerType.get_signless(64)
    return emit.generic(
        [],
        emit.empty([size], integer),
        [emit.axes(1)],
        "p",
        lambda _: arith.index_cast(integer, linalg.IndexOp(0).result),
    )
