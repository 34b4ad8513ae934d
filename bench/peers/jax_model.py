"""The models of :mod:`bench.cases.model` in JAX."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases import Prefill
from bench.cases.model import Geometry
from bench.cases.model_reference import rope_tables
from bench.peers.jax import rope

__all__ = ["make_prefill"]


def make_prefill(case: Prefill, kind: Any) -> tuple[Callable[..., Any], list[Any]]:
    """A function that gives the logits [1, V] of the last token, and what it is called with.

    Args:
        case: the model and the prompt.
        kind: dtype of weights and activations; norms are computed in f32.
    """
    import jax.numpy as jnp
    from safetensors import safe_open

    geometry = case.geometry
    with safe_open(geometry.checkpoint() / "model.safetensors", "numpy") as file:
        weights = {
            name.removeprefix("model.").removesuffix(".weight"): jnp.asarray(
                file.get_tensor(name), kind
            )
            for name in geometry.tensors()
        }
    kinds = {True: "sliding_attention", False: "full_attention"}
    tables = {
        name: tuple(jnp.asarray(table, kind) for table in rope_tables(geometry, local, case.prompt))
        for local, name in kinds.items()
    }
    ids = jnp.asarray(case.inputs()["ids"][:, : case.prompt])

    def run(weights: dict[str, Any], tables: dict[str, Any], ids: Any) -> Any:
        x = _layers(geometry, weights, tables, ids)
        return _norm(geometry, weights, x[:, -1], "norm") @ weights["embed_tokens"].T

    return run, [weights, tables, ids]


def _layers(geometry: Geometry, weights: dict[str, Any], tables: dict[str, Any], ids: Any) -> Any:
    import jax

    gemma, dim = geometry.is_gemma, geometry["head_dim"]

    def linear(x: Any, name: str) -> Any:
        return x @ weights[name].T

    def norm(x: Any, name: str) -> Any:
        return _norm(geometry, weights, x, name)

    x = weights["embed_tokens"][ids]
    if gemma:
        x = x * x.dtype.type(geometry["hidden_size"] ** 0.5)
    for layer in range(geometry["num_hidden_layers"]):
        at = f"layers.{layer}"
        kind = geometry["layer_types"][layer] if gemma else "full_attention"
        window = (geometry["sliding_window"] - 1, 0) if kind == "sliding_attention" else None
        h = norm(x, f"{at}.input_layernorm")
        q, k, v = (
            linear(h, f"{at}.self_attn.{n}_proj").reshape(*x.shape[:2], -1, dim) for n in "qkv"
        )
        if gemma:
            q, k = (norm(y, f"{at}.self_attn.{n}_norm") for y, n in ((q, "q"), (k, "k")))
        q, k = (rope(y, *tables[kind]) for y in (q, k))
        h = jax.nn.dot_product_attention(q, k, v, is_causal=True, local_window_size=window)
        h = linear(h.reshape(*x.shape[:2], -1), f"{at}.self_attn.o_proj")
        x = x + (norm(h, f"{at}.post_attention_layernorm") if gemma else h)
        before = "pre_feedforward_layernorm" if gemma else "post_attention_layernorm"
        h = norm(x, f"{at}.{before}")
        gate, up = (linear(h, f"{at}.mlp.{n}_proj") for n in ("gate", "up"))
        gate = jax.nn.gelu(gate, approximate=True) if gemma else jax.nn.silu(gate)
        h = linear(gate * up, f"{at}.mlp.down_proj")
        x = x + (norm(h, f"{at}.post_feedforward_layernorm") if gemma else h)
    return x


def _norm(geometry: Geometry, weights: dict[str, Any], x: Any, name: str) -> Any:
    import jax
    import jax.numpy as jnp

    wide = x.astype(np.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + geometry["rms_norm_eps"])
    weight = weights[name].astype(np.float32) + np.float32(geometry.is_gemma)
    return (wide * weight).astype(x.dtype)
