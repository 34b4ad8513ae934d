"""Token ids to hidden states."""

from dataclasses import dataclass

from rlx.dialects import emit
from rlx.dialects.embedding import embedding
from rlx.dialects.types import is_id
from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.elementwise import add, scale

__all__ = ["AddEmbeddingStage", "EmbedStage", "ScaleStage"]


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
class AddEmbeddingStage:
    """Adds the rows of a table that a model input names, such as token types or positions.

    Attributes:
        weight_key: the table [rows, hidden].
        input: the model input, i32 or i64, of the shape of the hidden states without the last axis.
        shape: the expected shape of the table; None for any.
    """

    weight_key: str
    input: str
    shape: tuple[int, int] | None = None

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        x = ctx.need(value)
        ids = ctx.input(self.input, f"rows of '{self.weight_key}'")
        if not is_id(ids.element_type):
            raise ctx.error(f"expects i32 or i64 ids in '{self.input}', but got {ids.type}")
        table = ctx.param(self.weight_key, self.shape or [None, x.shape[-1]], "rows, hidden_size")
        if len(ids.shape) != len(x.shape) - 1 or table.type.element_type != x.element_type:
            raise ctx.error(
                f"expects ids and table for hidden states {x.type}, but got {ids.type} and "
                f"{table.type}"
            )
        wanted = emit.sizes(x.value)[:-1]
        rows = emit.fit(ids.value, wanted, f"'{self.input}' must have a row for each token")
        return FlowValue(add(x.value, emit.cast(embedding(table, rows), x.type)))

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
