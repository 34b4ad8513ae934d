"""Self-attention over a whole prompt."""

from dataclasses import dataclass, replace

from rlx.dialects import emit
from rlx.dialects.attention import attention
from rlx.dialects.concat import concat
from rlx.dialects.layer_norm import layer_norm
from rlx.dialects.matmul import matmul
from rlx.dialects.narrow import narrow
from rlx.dialects.rms_norm import rms_norm
from rlx.dialects.rope import rope
from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.elementwise import add_bias, clip, multiply_columns, splat
from rlx.flow.mask import MaskKind
from rlx.host import ir

__all__ = ["HeadNorm", "SelfAttnPrefillSpec", "SelfAttnPrefillStage"]


@dataclass(frozen=True)
class HeadNorm:
    """A norm of each head, or of all heads at once.

    Attributes:
        key: weight [head_dim]; None for a norm without weight.
        epsilon: added to the mean square or the variance.
        weight_offset: added to the weight of an RMS norm; 1.0 in Gemma 3.
        kind: ``"rms"`` or ``"layer"``.
        whole: whether all heads are normed together, with a weight [heads * head_dim]: RMS only.
        own_weights: whether each head has weights of its own, one after the other in a weight
            [heads * head_dim].
        bias_key: bias [head_dim] of a layer norm; None for none.
    """

    key: str | None
    epsilon: float
    weight_offset: float = 0.0
    kind: str = "rms"
    whole: bool = False
    own_weights: bool = False
    bias_key: str | None = None


@dataclass(frozen=True)
class SelfAttnPrefillSpec:
    """What a self-attention block is made of.

    Attributes:
        q_key: weight [num_heads * head_dim, hidden] of the query projection.
        k_key: weight [num_kv_heads * head_dim, hidden] of the key projection.
        v_key: the same for values; not loaded with ``k_eq_v``.
        num_heads: query heads.
        head_dim: dims per head.
        num_kv_heads: key and value heads; divides ``num_heads``.
        n_rot: how many dims of a head RoPE turns; None for all, 0 for no RoPE.
        rope_table: slot of the RoPE tables; None for the default tables.
        k_eq_v: values are the key projection, before its norm and RoPE.
        mask: which keys a query sees.
        score_scale: factor of the scores; None for ``head_dim ** -0.5``.
        attn_logit_softcap: bound of the scores, through tanh; None for none.
        pairing: which dims RoPE pairs, as in `rlx.rope`.
        q_bias, k_bias, v_bias: keys of projection biases; None for none.
        q_norm, k_norm, v_norm: norms of queries, keys and values; None for none.
        norm_last: whether queries and keys are normed after RoPE, not before it.
        clip: bound of the magnitude of queries, keys and values, before RoPE; None for none.
        shares_kv: whether keys and values are those of the earlier block with the same ``k_key``.
    """

    q_key: str
    k_key: str
    v_key: str
    num_heads: int
    head_dim: int
    num_kv_heads: int
    n_rot: int | None = None
    rope_table: str | None = None
    k_eq_v: bool = False
    mask: MaskKind = MaskKind.causal()  # noqa: RUF009 -- immutable
    score_scale: float | None = None
    attn_logit_softcap: float | None = None
    pairing: str = "half"
    q_bias: str | None = None
    k_bias: str | None = None
    v_bias: str | None = None
    q_norm: HeadNorm | None = None
    k_norm: HeadNorm | None = None
    v_norm: HeadNorm | None = None
    norm_last: bool = False
    clip: float | None = None
    shares_kv: bool = False

    @staticmethod
    def hf_layer(
        prefix: str, num_heads: int, head_dim: int, num_kv_heads: int
    ) -> "SelfAttnPrefillSpec":
        """The projections of the layer ``prefix``, such as ``"model.layers.3"``."""
        q, k, v = (f"{prefix}.self_attn.{name}_proj.weight" for name in "qkv")
        return SelfAttnPrefillSpec(q, k, v, num_heads, head_dim, num_kv_heads)

    def with_n_rot(self, n_rot: int | None) -> "SelfAttnPrefillSpec":
        return replace(self, n_rot=n_rot)

    def with_rope_table(self, slot: str | None) -> "SelfAttnPrefillSpec":
        return replace(self, rope_table=slot)

    def with_k_eq_v(self, k_eq_v: bool = True) -> "SelfAttnPrefillSpec":
        return replace(self, k_eq_v=k_eq_v)

    def with_mask(self, mask: MaskKind) -> "SelfAttnPrefillSpec":
        return replace(self, mask=mask)

    def with_score_scale(self, scale: float | None) -> "SelfAttnPrefillSpec":
        return replace(self, score_scale=scale)

    def with_attn_logit_softcap(self, cap: float | None) -> "SelfAttnPrefillSpec":
        return replace(self, attn_logit_softcap=cap)

    def with_norms(
        self,
        q: HeadNorm | None = None,
        k: HeadNorm | None = None,
        v: HeadNorm | None = None,
    ) -> "SelfAttnPrefillSpec":
        return replace(self, q_norm=q, k_norm=k, v_norm=v)

    def with_hf_bias(self) -> "SelfAttnPrefillSpec":
        """Adds the biases that stand beside the projection weights."""
        q, k, v = (
            key.removesuffix(".weight") + ".bias" for key in (self.q_key, self.k_key, self.v_key)
        )
        return replace(self, q_bias=q, k_bias=k, v_bias=v)

    @property
    def rotated(self) -> int:
        """How many dims of a head RoPE turns."""
        return self.head_dim if self.n_rot is None else self.n_rot

    def check(self, ctx: FlowContext) -> None:
        """Refuses head counts and RoPE widths that make no sense."""
        if self.num_heads < 1 or self.num_kv_heads < 1 or self.head_dim < 1:
            raise ctx.error(
                "expects num_heads, num_kv_heads and head_dim of at least 1, but got "
                f"{self.num_heads}, {self.num_kv_heads} and {self.head_dim}"
            )
        if self.num_heads % self.num_kv_heads:
            raise ctx.error(
                f"expects num_heads to be a multiple of num_kv_heads, but got {self.num_heads} "
                f"and {self.num_kv_heads}"
            )
        if self.rotated % 2 or not 0 <= self.rotated <= self.head_dim:
            raise ctx.error(
                f"expects n_rot even and at most head_dim {self.head_dim}, but got {self.rotated}"
            )


@dataclass(frozen=True)
class KeyValue:
    """Keys and values of one layer, [B, S, num_kv_heads * head_dim], not repeated."""

    key: ir.Value
    value: ir.Value


RopeTables = tuple[ir.Value, ir.Value] | None


def find_rope(ctx: FlowContext, spec: SelfAttnPrefillSpec) -> RopeTables:
    """The tables that ``spec`` turns by; None where it does not."""
    return ctx.rope_tables(spec.rope_table) if spec.rotated else None


def check_input(ctx: FlowContext, value: FlowValue | None) -> FlowValue:
    """``value`` as hidden states [B, S, hidden]."""
    value = ctx.need(value)
    if len(value.shape) != 3 or value.shape[2] is None:
        raise ctx.error(f"expects hidden states [B, S, hidden], but got {value.type}")
    return value


def projection_weight(
    ctx: FlowContext, spec: SelfAttnPrefillSpec, key: str, heads: str, hidden: int | None
) -> ir.Value:
    """A projection [heads * head_dim, hidden]; ``heads`` names the field with the count."""
    count = getattr(spec, heads)
    why = f"{heads} {count} * head_dim {spec.head_dim}, hidden {hidden}"
    return ctx.param(key, [count * spec.head_dim, hidden], why)


def project(ctx: FlowContext, x: ir.Value, weight: ir.Value, bias: str | None) -> ir.Value:
    """``x`` times the transpose of ``weight``, plus the bias of that key."""
    product = matmul(x, weight, transpose_weight=True)
    if bias is None:
        return product
    return add_bias(product, ctx.param(bias, [weight.type.shape[0]]))


def normalize(
    ctx: FlowContext, spec: SelfAttnPrefillSpec, value: ir.Value, norm: HeadNorm | None
) -> ir.Value:
    if norm is None:
        return value
    width = value.type.shape[-1]
    own = norm.whole or norm.own_weights
    size, why = (width, "all heads") if own else (spec.head_dim, "head_dim")
    weight = None if norm.key is None else ctx.param(norm.key, [size], why)
    if norm.kind == "layer":
        return _layer_norm(ctx, spec, value, norm, weight)
    return rms_norm(
        value,
        weight,
        epsilon=norm.epsilon,
        weight_offset=norm.weight_offset if weight is not None else 0.0,
        group=width if norm.whole else spec.head_dim,
    )


def _layer_norm(
    ctx: FlowContext,
    spec: SelfAttnPrefillSpec,
    value: ir.Value,
    norm: HeadNorm,
    weight: ir.Value | None,
) -> ir.Value:
    """The layer norm of each head: a norm without weights where heads have their own."""
    axis, element, dims = value.type.rank - 1, value.type.element_type, spec.head_dim
    shared = None if norm.own_weights else weight
    bias = ctx.param(norm.bias_key, [dims], "head_dim") if norm.bias_key else None
    normed = layer_norm(
        emit.split_axis(value, axis, [value.type.shape[-1] // dims, dims]),
        splat(dims, element, 1.0) if shared is None else shared,
        splat(dims, element, 0.0) if bias is None else bias,
        epsilon=norm.epsilon,
    )
    joined = emit.join_axes(normed, axis)
    return multiply_columns(joined, weight) if norm.own_weights and weight is not None else joined


def rotate(
    ctx: FlowContext, spec: SelfAttnPrefillSpec, value: ir.Value, tables: RopeTables
) -> ir.Value:
    if tables is None:
        return value
    return rope(
        value,
        *tables,
        ctx.state.positions,
        head_dim=spec.head_dim,
        n_rot=spec.rotated,
        pairing=spec.pairing,
    )


def finish(
    ctx: FlowContext,
    spec: SelfAttnPrefillSpec,
    value: ir.Value,
    norm: HeadNorm | None,
    tables: RopeTables,
) -> ir.Value:
    """Projected queries or keys as attention reads them: normed, clipped and turned by RoPE."""
    if not spec.norm_last:
        value = normalize(ctx, spec, value, norm)
    if spec.clip is not None:
        value = clip(value, spec.clip)
    value = rotate(ctx, spec, value, tables)
    return normalize(ctx, spec, value, norm) if spec.norm_last else value


def project_kv(
    ctx: FlowContext, spec: SelfAttnPrefillSpec, hidden: FlowValue
) -> tuple[ir.Value, ir.Value]:
    """Keys before :func:`finish` and values of hidden states.

    Each is [B, S, num_kv_heads * head_dim]. Values are their own projection, or the raw keys, and
    never turned by RoPE.
    """
    x, width = hidden.value, hidden.shape[2]
    k_weight = projection_weight(ctx, spec, spec.k_key, "num_kv_heads", width)
    v_weight = None
    if not spec.k_eq_v:
        v_weight = projection_weight(ctx, spec, spec.v_key, "num_kv_heads", width)
    key = values = project(ctx, x, k_weight, spec.k_bias)
    if v_weight is not None:
        values = project(ctx, x, v_weight, spec.v_bias)
    values = normalize(ctx, spec, values, spec.v_norm)
    if spec.clip is not None:
        values = clip(values, spec.clip)
    return key, values


def project_all(
    ctx: FlowContext, spec: SelfAttnPrefillSpec, value: FlowValue | None
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Queries, keys and values of hidden states [B, S, hidden], as attention reads them.

    Queries are [B, S, num_heads * head_dim], keys and values [B, S, num_kv_heads * head_dim].
    """
    spec.check(ctx)
    hidden = check_input(ctx, value)
    # Missing tables are reported before missing weights.
    tables = find_rope(ctx, spec)
    q_weight = projection_weight(ctx, spec, spec.q_key, "num_heads", hidden.shape[2])
    query = project(ctx, hidden.value, q_weight, spec.q_bias)
    if spec.shares_kv:
        return finish(ctx, spec, query, spec.q_norm, tables), *recall_kv(ctx, spec)
    key, values = project_kv(ctx, spec, hidden)
    query = finish(ctx, spec, query, spec.q_norm, tables)
    return query, finish(ctx, spec, key, spec.k_norm, tables), values


def keep_kv(ctx: FlowContext, spec: SelfAttnPrefillSpec, key: ir.Value, values: ir.Value) -> None:
    """Keeps what attention reads for later blocks that share it."""
    ctx.state.named[f"{spec.k_key}.key"] = FlowValue(key)
    ctx.state.named[f"{spec.k_key}.value"] = FlowValue(values)


def recall_kv(ctx: FlowContext, spec: SelfAttnPrefillSpec) -> tuple[ir.Value, ir.Value]:
    """The keys and values that another block kept."""
    found = [ctx.state.named.get(f"{spec.k_key}.{part}") for part in ("key", "value")]
    if found[0] is None or found[1] is None:
        raise ctx.error(
            f"shares keys and values of '{spec.k_key}', but no earlier stage has made them"
        )
    return found[0].value, found[1].value


def repeat_kv(value: ir.Value, heads: int, head_dim: int, group: int) -> ir.Value:
    """Each head ``group`` times in a row: 0, 0, 1, 1, ..., as slices and one concatenation."""
    if group == 1:
        return value
    axis = value.type.rank - 1
    parts = []
    for head in range(heads):
        part = narrow(value, axis=axis, start=head * head_dim, length=head_dim)
        parts += [part] * group
    return concat(parts, axis=axis)


def attend(
    ctx: FlowContext, spec: SelfAttnPrefillSpec, query: ir.Value, key: ir.Value, values: ir.Value
) -> ir.Value:
    """Attention of queries [B, S, ...] over keys and values [B, K, ...] of which they are the last.

    Keys and values are repeated to ``num_heads`` heads; `rlx-fuse-gqa` makes that implicit.
    """
    group = spec.num_heads // spec.num_kv_heads
    return attention(
        query,
        repeat_kv(key, spec.num_kv_heads, spec.head_dim, group),
        repeat_kv(values, spec.num_kv_heads, spec.head_dim, group),
        spec.mask.operand(ctx),
        num_heads=spec.num_heads,
        head_dim=spec.head_dim,
        causal=spec.mask.is_causal,
        left_window=spec.mask.left_window,
        scale=spec.score_scale,
        softcap=spec.attn_logit_softcap or 0.0,
    )


@dataclass(frozen=True)
class SelfAttnPrefillStage:
    """Projects hidden states [B, S, hidden] to queries, keys and values and attends.

    The result is [B, S, num_heads * head_dim]: the output projection is a stage of its own.
    """

    spec: SelfAttnPrefillSpec

    @staticmethod
    def hf_layer(
        prefix: str, num_heads: int, head_dim: int, num_kv_heads: int
    ) -> "SelfAttnPrefillStage":
        """See :meth:`SelfAttnPrefillSpec.hf_layer`."""
        return SelfAttnPrefillStage(
            SelfAttnPrefillSpec.hf_layer(prefix, num_heads, head_dim, num_kv_heads)
        )

    def with_n_rot(self, n_rot: int | None) -> "SelfAttnPrefillStage":
        return SelfAttnPrefillStage(self.spec.with_n_rot(n_rot))

    def with_rope_table(self, slot: str | None) -> "SelfAttnPrefillStage":
        return SelfAttnPrefillStage(self.spec.with_rope_table(slot))

    def with_k_eq_v(self, k_eq_v: bool = True) -> "SelfAttnPrefillStage":
        return SelfAttnPrefillStage(self.spec.with_k_eq_v(k_eq_v))

    def place(self) -> str:
        return self.spec.q_key

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        spec = self.spec
        query, key, values = project_all(ctx, spec, value)
        keep_kv(ctx, spec, key, values)
        return FlowValue(attend(ctx, spec, query, key, values))
