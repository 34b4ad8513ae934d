"""RoPE tables and positions for later stages."""

from dataclasses import dataclass

import numpy as np

from rlx.dialects.types import is_id
from rlx.flow.context import FlowContext, FlowValue

__all__ = ["NamedRopeTablesStage", "PositionsStage", "RopeTablesStage"]


@dataclass(frozen=True, eq=False)
class RopeTablesStage:
    """Makes cosine and sine tables known to all later stages. What flows passes through.

    Attributes:
        cos: float array [P, C]: row p holds the cosines of position p.
        sin: the same for sines.
        cos_key: name of the cosine parameter.
        sin_key: name of the sine parameter.
    """

    cos: np.ndarray
    sin: np.ndarray
    cos_key: str = "rope.cos"
    sin_key: str = "rope.sin"

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue | None:
        _add_tables(ctx, "rope", self.cos, self.sin, self.cos_key, self.sin_key)
        return value


@dataclass(frozen=True, eq=False)
class NamedRopeTablesStage:
    """Like :class:`RopeTablesStage`, for stages that ask for the tables of this slot.

    Attributes:
        slot: the name that stages give as ``rope_table``.
        cos: float array [P, C]: row p holds the cosines of position p.
        sin: the same for sines.
    """

    slot: str
    cos: np.ndarray
    sin: np.ndarray

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue | None:
        keys = f"rope.{self.slot}.cos", f"rope.{self.slot}.sin"
        _add_tables(ctx, self.slot, self.cos, self.sin, *keys)
        return value

    def place(self) -> str:
        return self.slot


@dataclass(frozen=True)
class PositionsStage:
    """Takes the positions that RoPE turns by from a model input. What flows passes through.

    Attributes:
        input: name of an i32 or i64 input, [S] or [B, S].
    """

    input: str = "position_ids"

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue | None:
        positions = ctx.input(self.input)
        if not is_id(positions.element_type) or len(positions.shape) not in (1, 2):
            raise ctx.error(
                f"expects the input '{self.input}' to be an i32 or i64 tensor [S] or [B, S], "
                f"but got {positions.type}"
            )
        ctx.state.positions = positions.value
        return value


def _add_tables(
    ctx: FlowContext, slot: str, cos: np.ndarray, sin: np.ndarray, cos_key: str, sin_key: str
) -> None:
    if cos.ndim != 2 or cos.shape != sin.shape or cos.dtype != sin.dtype:
        raise ctx.error(
            "expects cosine and sine tables of one shape [positions, angles] and one dtype, but "
            f"got {cos.dtype}{list(cos.shape)} and {sin.dtype}{list(sin.shape)}"
        )
    ctx.state.rope[f"{slot}_cos"] = ctx.constant(cos_key, cos)
    ctx.state.rope[f"{slot}_sin"] = ctx.constant(sin_key, sin)
