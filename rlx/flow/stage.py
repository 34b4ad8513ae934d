"""What a stage is."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rlx.flow.context import FlowContext, FlowValue

__all__ = ["Stage"]


class Stage(Protocol):
    """One step of the assembly line: any object with such an ``emit``.

    Stages are best written as frozen dataclasses. What they hold is configuration; what they find
    and leave while building is in the context, so that a flow can be built many times. A stage may
    also have a method ``place()`` that returns a weight key or prefix, such as
    ``"model.layers.3.self_attn"``: locations and errors then say which part of the model it is.
    """

    def emit(self, ctx: "FlowContext", value: "FlowValue | None") -> "FlowValue | None":
        """Emits ops for ``value`` and returns what flows on.

        Args:
            ctx: the build.
            value: what flows in; None before anything flows.

        Raises:
            FlowError: made with ``ctx.error``, which names the stage and the layer.
        """
        ...
