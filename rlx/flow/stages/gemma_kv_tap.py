"""Exports the keys and values of a layer."""

import weakref
from dataclasses import dataclass, field, replace

from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.stages.self_attn_prefill import (
    HeadNorm,
    SelfAttnPrefillSpec,
    check_input,
    find_rope,
    finish,
    project_kv,
)

__all__ = ["GemmaKvTapStage", "SideOutputs"]


class SideOutputs:
    """Collects the names of values that stages export, in order of emission.

    A build starts with an empty one: what an earlier build of the same flow left is dropped.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._build: weakref.ref[FlowContext] | None = None

    def push(self, ctx: FlowContext, name: str, value: FlowValue) -> None:
        """Makes ``value`` a side output of the model, and remembers its name."""
        ctx.side_output(name, value)
        if not self._belongs_to(ctx):
            self._build = weakref.ref(ctx)
            self._names = []
        self._names.append(name)

    def _belongs_to(self, ctx: FlowContext) -> bool:
        return self._build is not None and self._build() is ctx

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the side outputs of the last build."""
        return tuple(self._names)

    def values(self, ctx: FlowContext) -> list[FlowValue]:
        """The values themselves, for later stages of the same build."""
        return [ctx.side_outputs[name] for name in self._names] if self._belongs_to(ctx) else []

    def drain(self) -> list[str]:
        """Returns the names and forgets them."""
        names, self._names, self._build = self._names, [], None
        return names


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
        sink: collects the names, the key's before the value's.
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
        tables = find_rope(ctx, spec)
        key, values = project_kv(ctx, spec, hidden)
        found = finish(ctx, spec, key, spec.k_norm, tables), values
        name = self.name or f"present.{_taps_so_far(ctx)}"
        for part, tensor in zip(("key", "value"), map(FlowValue, found), strict=True):
            if self.sink is None:
                ctx.side_output(f"{name}.{part}", tensor)
            else:
                self.sink.push(ctx, f"{name}.{part}", tensor)
        return hidden


def _taps_so_far(ctx: FlowContext) -> int:
    return sum(name.startswith("present.") for name in ctx.side_outputs) // 2
