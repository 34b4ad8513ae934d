"""Hidden states of tokens to one vector per sequence."""

from dataclasses import dataclass

from rlx.dialects import emit
from rlx.dialects.narrow import narrow
from rlx.dialects.types import accumulator_type
from rlx.flow.context import FlowContext, FlowValue
from rlx.host import arith, ir

__all__ = ["ClsPoolStage", "MeanPoolStage"]


def _hidden(ctx: FlowContext, value: FlowValue | None) -> FlowValue:
    x = ctx.need(value)
    if len(x.shape) != 3:
        raise ctx.error(f"expects hidden states [B, S, hidden], but got {x.type}")
    return x


@dataclass(frozen=True)
class ClsPoolStage:
    """The hidden state of the first token: [B, S, hidden] to [B, hidden]."""

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        x = _hidden(ctx, value)
        return FlowValue(emit.join_axes(narrow(x.value, axis=1, start=0, length=1), 0))


@dataclass(frozen=True)
class MeanPoolStage:
    """The mean of the hidden states of tokens that are there: [B, S, hidden] to [B, hidden].

    A sequence without tokens gives zeros. The sum is in f32 (f64 for f64) and rounded once.

    Attributes:
        mask: model input [B, S], i1 or integer: zero hides a token.
    """

    mask: str = "attention_mask"

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        x = _hidden(ctx, value)
        mask = ctx.input(self.mask, "mean pooling")
        if not isinstance(mask.element_type, ir.IntegerType) or len(mask.shape) != 2:
            raise ctx.error(
                f"expects the input '{self.mask}' to be an i1 or integer tensor [B, S], but got "
                f"{mask.type}"
            )
        wide = accumulator_type(x.element_type)
        batch, length, width = emit.sizes(x.value)
        shape = [batch, length]
        keep = emit.fit(mask.value, shape, f"input '{self.mask}' must be [B, S] like the tokens")
        b, s, n = emit.axes(3)

        def counted(flag: ir.Value, total: ir.Value) -> ir.Value:
            return arith.addf(total, _as_float(flag, wide))

        def summed(item: ir.Value, flag: ir.Value, total: ir.Value) -> ir.Value:
            there = arith.cmpi(arith.CmpIPredicate.ne, flag, emit.constant(mask.element_type, 0))
            zero = emit.constant(wide, 0.0)
            return arith.addf(total, arith.select(there, emit.convert(item, wide), zero))

        def divided(total: ir.Value, count: ir.Value, _: ir.Value) -> ir.Value:
            one = emit.constant(wide, 1.0)
            mean = arith.divf(total, arith.maximumf(count, one))
            return emit.convert(mean, x.element_type)

        count = emit.generic([keep], emit.fill([batch], wide, 0.0), [[b, s], [b]], "pr", counted)
        total = emit.generic(
            [x.value, keep],
            emit.fill([batch, width], wide, 0.0),
            [[b, s, n], [b, s], [b, n]],
            "prp",
            summed,
        )
        mean = emit.generic(
            [total, count],
            emit.empty([batch, width], x.element_type),
            [[b, s], [b], [b, s]],
            "pp",
            divided,
        )
        return FlowValue(mean)


def _as_float(flag: ir.Value, type: ir.Type) -> ir.Value:
    there = arith.cmpi(arith.CmpIPredicate.ne, flag, emit.constant(flag.type, 0))
    return arith.uitofp(type, there)
