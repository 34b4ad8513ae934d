"""Token ids to hidden states."""

from dataclasses import dataclass

from rlx.dialects.embedding import embedding
from rlx.dialects.types import is_id
from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.elementwise import scale

__all__ = ["EmbedStage", "ScaleStage"]


@dataclass(frozen=True)
class EmbedStage:
    """Looks up the rows of a table: ids [...] to hidden states [..., hidden].

    Attributes:
        weight_key: the table [vocabulary, hidden].
        shape: the expected shape of the table; None for any.
    """

    weight_key: str = "model.embed_tokens.weight"
    shape: tuple[int, int] | None = None

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        ids = ctx.need(value)
        if not is_id(ids.element_type):
            raise ctx.error(f"expects i32 or i64 ids, but got {ids.type}")
        table = ctx.param(self.weight_key, self.shape or [None, None], "vocab_size, hidden_size")
        return FlowValue(embedding(table, ids.value))

    def place(self) -> str:
        return self.weight_key


@dataclass(frozen=True)
class ScaleStage:
    """Multiplies with a constant.

    Attributes:
        factor: the constant.
        rounded: whether it is rounded to the element type first, as Gemma's embedding scale is;
            otherwise only the product is.
    """

    factor: float
    rounded: bool = True

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        return FlowValue(scale(ctx.need(value).value, self.factor, rounded=self.rounded))
