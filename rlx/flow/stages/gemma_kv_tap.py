"""Exports the keys and values of a layer."""

import weakref
from dataclasses import dataclass, field, replace

from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.stages.self_attn_prefill import (
    HeadNorm,
    SelfAttnPrefillSpec,
    check_input,
    find_rope,
    normalize,
    project,
    project_values,
    projection_weight,
    rotate,
)

__all__ = ["GemmaKvTapStage", "SideOutputs"]


class SideOutputs:
    """Collects values that stages export, in order of emission.

    A build starts with an empty one: what an earlier build of the same flow left is dropped.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[str, FlowValue]] = []
        self._build: weakref.ref[FlowContext] | None = None

    def push(self, ctx: FlowContext, name: str, value: FlowValue) -> None:
        if self._build is None or self._build() is not ctx:
            self._build = weakref.ref(ctx)
            self._entries = []
        self._entries.append((name, value))

    @property
    def entries(self) -> tuple[tuple[str, FlowValue], ...]:
        """Names and values of the last build."""
        return tuple(self._entries)

    def drain(self) -> list[tuple[str, FlowValue]]:
        """Returns the entries and forgets them."""
        entries, self._entries, self._build = self._entries, [], None
        return entries


@dataclass(frozen=True)
class GemmaKvTapStage:
    """Makes the function return a layer's keys and values. What flows passes through.

    The value that flows in is the normed hidden state [B, S, hidden] that the attention stage will
    see. Keys are normed and turned by RoPE, values are as attention sees them; both are
    [B, S, num_kv_heads * head_dim], not repeated, and leave as the side outputs
    ``present.{i}.key`` and ``present.{i}.value``. The projections are emitted again: `cse` merges
    them with those of the attention stage.

    Attributes:
        spec: the attention block whose keys and values are exported.
        name: prefix of the side outputs; by default ``present.{i}`` for the i-th tap of the flow.
        sink: collects [key, value] as well.
    """

    spec: SelfAttnPrefillSpec
    name: str | None = None
    sink: SideOutputs | None = field(default=None, compare=False)

    @staticmethod
    def hf_layer(
        prefix: str,
        num_kv_heads: int,
        head_dim: int,
        sink: SideOutputs | None = None,
    ) -> "GemmaKvTapStage":
        """The tap of the layer ``prefix``, such as ``"model.layers.3"``."""
        spec = SelfAttnPrefillSpec.hf_layer(prefix, num_kv_heads, head_dim, num_kv_heads)
        return GemmaKvTapStage(spec, sink=sink)

    def with_n_rot(self, n_rot: int | None) -> "GemmaKvTapStage":
        return replace(self, spec=self.spec.with_n_rot(n_rot))

    def with_rope_table(self, slot: str | None) -> "GemmaKvTapStage":
        return replace(self, spec=self.spec.with_rope_table(slot))

    def with_k_eq_v(self, k_eq_v: bool = True) -> "GemmaKvTapStage":
        return replace(self, spec=self.spec.with_k_eq_v(k_eq_v))

    def with_norms(self, k: HeadNorm | None = None, v: HeadNorm | None = None) -> "GemmaKvTapStage":
        return replace(self, spec=self.spec.with_norms(self.spec.q_norm, k, v))

    def place(self) -> str:
        return self.spec.k_key

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        spec = self.spec
        spec.check(ctx)
        hidden = check_input(ctx, value)
        x, width = hidden.value, hidden.shape[2]
        tables = find_rope(ctx, spec)
        k_weight = projection_weight(ctx, spec, spec.k_key, "num_kv_heads", width)
        v_weight = k_weight
        if not spec.k_eq_v:
            v_weight = projection_weight(ctx, spec, spec.v_key, "num_kv_heads", width)

        raw_key = project(ctx, x, k_weight, spec.k_bias)
        values = FlowValue(project_values(ctx, spec, x, raw_key, v_weight))
        key = FlowValue(rotate(ctx, spec, normalize(ctx, spec, raw_key, spec.k_norm), tables))
        name = self.name or f"present.{_taps_so_far(ctx)}"
        for part, tensor in (("key", key), ("value", values)):
            ctx.side_output(f"{name}.{part}", tensor)
            if self.sink is not None:
                self.sink.push(ctx, f"{name}.{part}", tensor)
        return hidden


def _taps_so_far(ctx: FlowContext) -> int:
    return sum(name.startswith("present.") for name in ctx.side_outputs) // 2
