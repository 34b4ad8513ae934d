"""Which keys a query sees."""

from dataclasses import dataclass, replace

from rlx.dialects import emit
from rlx.dialects.types import is_float
from rlx.flow.context import FlowContext, FlowValue
from rlx.host import arith, ir

__all__ = ["MaskKind"]


@dataclass(frozen=True)
class MaskKind:
    """A rule for what a query sees; ``a & b`` lets it see what both allow.

    Attributes:
        is_causal: no key after the query's own position.
        window: how many keys up to and including its own position a query sees, counted as
            Hugging Face's ``sliding_window``; None for all.
        keep: model input that says which keys are there: [B, K] key padding, or [B, H, S, K] with
            sizes of 1 where it does not matter; i1 or integer, zero hides the key.
        add: model input that is added to the scores, after the softcap: float, and broadcast from
            the right to [B, H, S, K].
    """

    is_causal: bool = False
    window: int | None = None
    keep: str | None = None
    add: str | None = None

    @staticmethod
    def none() -> "MaskKind":
        """Every query sees every key."""
        return MaskKind()

    @staticmethod
    def causal() -> "MaskKind":
        return MaskKind(is_causal=True)

    @staticmethod
    def sliding_window(size: int) -> "MaskKind":
        """Causal, and the last ``size`` keys only, the query's own position included."""
        return MaskKind(is_causal=True, window=size)

    @staticmethod
    def custom(input: str = "attention_mask") -> "MaskKind":
        """Causal, and only keys that the model input keeps."""
        return MaskKind(is_causal=True, keep=input)

    @staticmethod
    def bias(input: str = "attention_bias") -> "MaskKind":
        """The model input is added to the scores; nothing else is hidden."""
        return MaskKind(add=input)

    def __and__(self, other: "MaskKind") -> "MaskKind":
        windows = [size for size in (self.window, other.window) if size is not None]
        for field in ("keep", "add"):
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine and theirs and mine != theirs:
                raise ValueError(f"cannot combine masks from inputs '{mine}' and '{theirs}'")
        return replace(
            self,
            is_causal=self.is_causal or other.is_causal,
            window=min(windows) if windows else None,
            keep=self.keep or other.keep,
            add=self.add or other.add,
        )

    def __str__(self) -> str:
        parts = []
        if self.keep:
            parts.append(f"custom({self.keep})")
        if self.add:
            parts.append(f"bias({self.add})")
        if self.window is not None:
            parts.append(f"sliding_window({self.window})")
        elif self.is_causal:
            parts.append("causal")
        return " & ".join(parts) or "none"

    def operand(self, ctx: FlowContext) -> ir.Value | None:
        """The mask operand of `rlx.attention`, or None.

        Raises:
            FlowError: the model input is missing or of an unfit type, or the window is below 1.
        """
        if self.window is not None and self.window < 1:
            raise ctx.error(f"expects a sliding window of at least 1 key, but got {self.window}")
        if self.keep and self.add:
            raise ctx.error(
                f"expects one mask input, but got '{self.keep}' and '{self.add}': "
                "fold the first into the second as -inf"
            )
        if self.keep:
            return _keep(ctx, self.keep, str(self))
        if self.add:
            return _added(ctx, self.add, str(self))
        return None

    @property
    def left_window(self) -> int:
        """The attribute of `rlx.attention`, which does not count the query's own position."""
        return -1 if self.window is None else self.window - 1


def _added(ctx: FlowContext, name: str, mask: str) -> ir.Value:
    value = ctx.input(name, f"mask {mask}")
    if not is_float(value.element_type) or not 2 <= len(value.shape) <= 4:
        raise ctx.error(
            f"expects the input '{name}' (mask {mask}) to be a float tensor of rank 2 to 4 that "
            f"broadcasts to [B, H, S, K], but got {value.type}"
        )
    return value.value


def _keep(ctx: FlowContext, name: str, mask: str) -> ir.Value:
    value = ctx.input(name, f"mask {mask}")
    if not isinstance(value.element_type, ir.IntegerType) or len(value.shape) not in (2, 4):
        raise ctx.error(
            f"expects the input '{name}' (mask {mask}) to be an i1 or integer tensor [B, K] or "
            f"[B, H, S, K], but got {value.type}"
        )
    # Layers share the converted mask.
    key = f"mask.{name}"
    if key not in ctx.state.named:
        ctx.state.named[key] = FlowValue(_boolean(value.value))
    return ctx.state.named[key].value


def _boolean(mask: ir.Value) -> ir.Value:
    """``mask != 0`` as i1, with [B, K] turned into [B, 1, 1, K]."""
    element = mask.type.element_type
    is_padding = mask.type.rank == 2
    if element.width == 1 and not is_padding:
        return mask
    shape = emit.sizes(mask)
    axes = emit.axes(4)
    source = [axes[0], axes[3]] if is_padding else axes
    boolean = ir.IntegerType.get_signless(1)

    def body(x: ir.Value, _: ir.Value) -> ir.Value:
        if element.width == 1:
            return x
        return arith.cmpi(arith.CmpIPredicate.ne, x, emit.constant(element, 0))

    return emit.generic(
        [mask],
        emit.empty([shape[0], 1, 1, shape[1]] if is_padding else shape, boolean),
        [source, axes],
        "pppp",
        body,
    )
