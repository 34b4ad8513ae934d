"""A linear layer."""

from dataclasses import dataclass

from rlx.dialects.matmul import matmul
from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.elementwise import add_bias
from rlx.host import ir

__all__ = ["LinearStage", "linear"]


def linear(
    ctx: FlowContext,
    x: ir.Value,
    weight_key: str,
    bias_key: str | None = None,
    *,
    out_features: int | None = None,
    transpose: bool = True,
) -> ir.Value:
    """``x`` [..., in] times a weight [out, in], or [in, out] without ``transpose``, plus a bias."""
    if x.type.rank < 1:
        raise ctx.error(f"expects a tensor [..., in], but got {x.type}")
    size = FlowValue(x).shape[-1]
    shape = [out_features, size] if transpose else [size, out_features]
    weight = ctx.param(weight_key, shape, f"input {x.type}")
    product = matmul(x, weight, transpose_weight=transpose)
    if bias_key is None:
        return product
    bias = ctx.param(bias_key, [weight.type.shape[0 if transpose else 1]])
    return add_bias(product, bias)


@dataclass(frozen=True)
class LinearStage:
    """Multiplies with a weight matrix and adds a bias.

    Attributes:
        weight_key: the weight, [out, in].
        bias_key: the bias [out]; None for none.
        out_features: the expected ``out``; None for any.
        transpose: False for a weight that is stored as [in, out].
    """

    weight_key: str
    bias_key: str | None = None
    out_features: int | None = None
    transpose: bool = True

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        result = linear(
            ctx,
            ctx.need(value).value,
            self.weight_key,
            self.bias_key,
            out_features=self.out_features,
            transpose=self.transpose,
        )
        return FlowValue(result)

    def place(self) -> str:
        return self.weight_key
