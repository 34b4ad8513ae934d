"""Residual connections."""

from dataclasses import dataclass

from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.elementwise import add

__all__ = ["ResidualAddStage", "ResidualRecallStage", "ResidualSaveStage"]


@dataclass(frozen=True)
class ResidualSaveStage:
    """Keeps what flows for a later :class:`ResidualAddStage`; it also flows on.

    Attributes:
        slot: names the connection, where several overlap.
    """

    slot: str = "residual"

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        value = ctx.need(value)
        if self.slot in ctx.state.residuals:
            raise ctx.error(f"slot '{self.slot}' holds a value that was never added")
        ctx.state.residuals[self.slot] = value
        return value


@dataclass(frozen=True)
class ResidualAddStage:
    """Adds what was saved to what flows, and frees the slot.

    Attributes:
        slot: names the connection, where several overlap.
    """

    slot: str = "residual"

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        value = ctx.need(value)
        saved = _take(ctx, self.slot)
        if saved.type != value.type:
            raise ctx.error(
                f"expects the saved and the current value to have one type, but got {saved.type} "
                f"and {value.type}"
            )
        return FlowValue(add(saved.value, value.value))


@dataclass(frozen=True)
class ResidualRecallStage:
    """Lets what was saved flow on instead of what flows, and frees the slot.

    Attributes:
        slot: names the connection, where several overlap.
    """

    slot: str = "residual"

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        return _take(ctx, self.slot)


def _take(ctx: FlowContext, slot: str) -> FlowValue:
    """What was saved; frees the slot."""
    if slot not in ctx.state.residuals:
        raise ctx.error(f"slot '{slot}' is empty: emit a ResidualSaveStage first")
    return ctx.state.residuals.pop(slot)
