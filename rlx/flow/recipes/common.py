"""What the adapters of most architectures have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlx.flow.recipes.decoder_config import ACTIVATIONS, DecoderConfig, LayerConfig
from rlx.flow.recipes.hf_config import HfConfig
from rlx.flow.rope import RopeSpec

__all__ = [
    "FULL",
    "SLIDING",
    "Defaults",
    "read_decoder",
    "read_layer_types",
    "read_rope",
    "read_ropes",
    "with_windows",
]

FULL = "full_attention"
SLIDING = "sliding_attention"


@dataclass(frozen=True)
class Defaults:
    """Values of the fields that nearly every configuration has, where a file leaves them out.

    Attributes:
        vocab_size, hidden_size, intermediate_size: the fields of those names.
        layers, heads, positions: ``num_hidden_layers``, ``num_attention_heads`` and
            ``max_position_embeddings``.
        kv_heads: ``num_key_value_heads``; None for as many as there are query heads.
        head_dim: None for ``hidden_size / num_attention_heads``.
        epsilon: of the norms.
        activation: ``hidden_act``.
        tied: ``tie_word_embeddings``.
        theta: ``rope_theta``.
        rotated: ``partial_rotary_factor``; None where the architecture always rotates whole heads.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    positions: int
    kv_heads: int | None = None
    head_dim: int | None = None
    epsilon: float = 1e-6
    activation: str = "silu"
    tied: bool = False
    theta: float = 10000.0
    rotated: float | None = None


def read_decoder(
    hf: HfConfig,
    defaults: Defaults,
    *,
    epsilon: str = "rms_norm_eps",
    activation: str = "hidden_act",
    activations: Mapping[str, str] = ACTIVATIONS,
    reads_head_dim: bool = True,
) -> DecoderConfig:
    """A decoder like Llama with the sizes of a configuration, for an adapter to refine.

    Args:
        hf: the configuration.
        defaults: what absent fields stand for.
        epsilon, activation: names of those fields.
        activations: what the activation can be.
        reads_head_dim: whether there is a field ``head_dim``.

    Raises:
        ConfigError: a field is malformed or asks for something that is not supported.
    """
    hidden_size = hf.size("hidden_size", defaults.hidden_size)
    heads = hf.size("num_attention_heads", defaults.heads)
    given = hf.get("head_dim", int, defaults.head_dim) if reads_head_dim else None
    if given is None and hidden_size % heads:
        raise hf.error(
            f"expected hidden_size {hidden_size} to be a multiple of num_attention_heads "
            f"{heads}{', or head_dim' if reads_head_dim else ''}"
        )
    head_dim = hf.size("head_dim", given) if given is not None else hidden_size // heads
    positions = hf.size("max_position_embeddings", defaults.positions)
    layer = LayerConfig(
        num_heads=heads,
        num_kv_heads=hf.size("num_key_value_heads", defaults.kv_heads or heads),
        head_dim=head_dim,
        intermediate_size=hf.size("intermediate_size", defaults.intermediate_size),
        activation=hf.choice(activation, activations, defaults.activation),
    )
    return DecoderConfig(
        model_type=hf.get("model_type", str, "decoder"),
        vocab_size=hf.size("vocab_size", defaults.vocab_size),
        hidden_size=hidden_size,
        layers=(layer,) * hf.size("num_hidden_layers", defaults.layers),
        ropes=(("", read_rope(hf, head_dim, positions, defaults.theta, defaults.rotated)),),
        norm_epsilon=hf.get(epsilon, float, defaults.epsilon),
        tied=hf.get("tie_word_embeddings", bool, defaults.tied),
        max_positions=positions,
    )


def read_rope(
    hf: HfConfig, head_dim: int, positions: int, theta: float, rotated: float | None = None
) -> RopeSpec:
    """Reads ``rope_parameters``, or the older ``rope_theta`` and ``rope_scaling``.

    Args:
        hf: the configuration.
        head_dim: dims per head.
        positions: ``max_position_embeddings``.
        theta: ``rope_theta`` where nothing gives it.
        rotated: ``partial_rotary_factor`` where nothing gives it; None where it must be 1.
    """
    theta = hf.get("rope_theta", float, theta)
    old = hf.get("rope_scaling", dict, None)
    parameters = old or hf.get("rope_parameters", dict, None) or {}
    where = f"{hf.where}: {'rope_scaling' if old else 'rope_parameters'}"
    part = hf.get("partial_rotary_factor", float, 1.0 if rotated is None else rotated)
    own = parameters.get("partial_rotary_factor")
    if own is not None:
        if isinstance(own, bool) or not isinstance(own, int | float):
            raise hf.error(f"expected a number as 'partial_rotary_factor', got {own!r}")
        part = float(own)
    if rotated is None and part != 1.0:
        raise hf.error(
            f"'partial_rotary_factor': {part} is not supported: this architecture rotates whole "
            "heads"
        )
    if not 0 < part <= 1:
        raise hf.error(f"expected partial_rotary_factor above 0 and at most 1, got {part}")
    return RopeSpec.from_hf(parameters, int(head_dim * part), theta, positions, where)


def read_ropes(
    hf: HfConfig, head_dim: int, positions: int, thetas: Mapping[str, float]
) -> dict[str, RopeSpec]:
    """Reads ``rope_parameters`` per kind of layer, or the older ``rope_scaling`` of full layers.

    Args:
        hf: the configuration.
        head_dim: dims per head, all of which rotate.
        positions: ``max_position_embeddings``.
        thetas: the kinds, and their ``rope_theta`` where nothing gives it.
    """
    given = hf.get("rope_parameters", dict, {})
    for name in given:
        if name not in thetas:
            raise hf.error(f"rope_parameters: expected '{FULL}' and '{SLIDING}', got '{name}'")
    scaling = hf.get("rope_scaling", dict, {})
    ropes = {}
    for kind, theta in thetas.items():
        where = f"{hf.where}: rope_parameters of {kind}"
        parameters = given.get(kind) or {}
        if not isinstance(parameters, dict):
            raise hf.error(f"rope_parameters: expected an object as '{kind}', got {parameters!r}")
        if kind == FULL:
            parameters = {**parameters, **scaling}
        if parameters.get("partial_rotary_factor") not in (None, 1.0):
            raise hf.error(
                "'partial_rotary_factor' is not supported: this architecture rotates whole heads"
            )
        ropes[kind] = RopeSpec.from_hf(parameters, head_dim, theta, positions, where)
    return ropes


def read_layer_types(hf: HfConfig, default: Sequence[str]) -> list[str]:
    """``layer_types``, one of ``full_attention`` and ``sliding_attention`` for each layer."""
    kinds: list[Any] = hf.get("layer_types", list, list(default))
    if len(kinds) != len(default):
        raise hf.error(f"expected {len(default)} layer_types (num_hidden_layers), got {len(kinds)}")
    for kind in kinds:
        if kind not in (FULL, SLIDING):
            raise hf.error(f"unsupported layer type {kind!r}; supported: '{FULL}', '{SLIDING}'")
    return kinds


def with_windows(
    hf: HfConfig, config: DecoderConfig, kinds: Sequence[str], window: int | None
) -> DecoderConfig:
    """Gives the sliding layers their window."""
    if SLIDING in kinds and (window is None or window < 1):
        raise hf.error(f"expected sliding_window of at least 1 for '{SLIDING}', got {window}")
    return config.each_layer(
        lambda index, layer: replace(
            layer, sliding_window=window if kinds[index] == SLIDING else None
        )
    )
