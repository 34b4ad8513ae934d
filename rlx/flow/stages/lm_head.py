"""Hidden states to logits."""

from dataclasses import dataclass

from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.stages.linear import linear

__all__ = ["LmHeadStage"]


@dataclass(frozen=True)
class LmHeadStage:
    """Multiplies with the head's weight [vocabulary, hidden].

    A tied head names the embedding table: the parameter is shared, not copied.

    Attributes:
        weight_key: the weight.
        vocab_size: the expected vocabulary; None for any.
        bias_key: the bias; None for none.
    """

    weight_key: str = "lm_head.weight"
    vocab_size: int | None = None
    bias_key: str | None = None

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        x = ctx.need(value).value
        return FlowValue(
            linear(ctx, x, self.weight_key, self.bias_key, out_features=self.vocab_size)
        )

    def place(self) -> str:
        return self.weight_key
