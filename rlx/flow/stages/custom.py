"""A stage made of a function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rlx.flow.context import FlowContext, FlowValue
from rlx.host import ir

__all__ = ["CustomStage"]


@dataclass(frozen=True)
class CustomStage:
    """Calls ``function(ctx, value)``, which may build any op at the ambient insertion point.

    Attributes:
        function: takes the context and the :class:`FlowValue` that flows in (or None); returns a
            :class:`FlowValue`, an ``ir.Value`` that is a ranked tensor, or None.
        name: says in errors and locations what it does.
    """

    function: Callable[[FlowContext, FlowValue | None], Any]
    name: str = ""

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue | None:
        result = self.function(ctx, value)
        if isinstance(result, ir.Value):
            result = FlowValue(result)
        if result is None or (
            isinstance(result, FlowValue) and isinstance(result.value.type, ir.RankedTensorType)
        ):
            return result
        raise ctx.error(
            f"expects the function to return a FlowValue or a tensor value, but got {result!r}"
        )

    def place(self) -> str:
        return self.name
