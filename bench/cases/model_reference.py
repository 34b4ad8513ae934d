"""The models of :mod:`bench.cases.model` in NumPy and f64: the definition, one step at a time."""

import math
from functools import cache
from typing import Any

import numpy as np

from bench.cases.attention import attend, rotate

__all__ = ["last_logits", "llama3_factors", "rope_tables"]


def last_logits(geometry: Any, ids: np.ndarray) -> np.ndarray:
    """Logits [V] of the position after ``ids`` [S]."""
    return _last_logits(geometry, tuple(ids.tolist()))


@cache
def _last_logits(geometry: Any, ids: tuple[int, ...]) -> np.ndarray:
    from safetensors import safe_open

    gemma = geometry.is_gemma
    heads, kv_heads = geometry["num_attention_heads"], geometry["num_key_value_heads"]
    dim, eps = geometry["head_dim"], geometry["rms_norm_eps"]
    with safe_open(geometry.checkpoint() / "model.safetensors", "numpy") as file:

        def weight(key: str) -> np.ndarray:
            return file.get_tensor(f"model.{key}.weight").astype(np.float64)

        def norm(x: np.ndarray, key: str) -> np.ndarray:
            scaled = x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps)
            return scaled * (weight(key) + (1.0 if gemma else 0.0))

        table = file.get_slice("model.embed_tokens.weight")
        x = np.stack([table[i : i + 1][0].astype(np.float64) for i in ids])
        if gemma:
            x *= math.sqrt(geometry["hidden_size"])
        count = len(ids)
        distance = np.arange(count)[:, None] - np.arange(count)
        for layer in range(geometry["num_hidden_layers"]):
            at = f"layers.{layer}"
            local = gemma and geometry["layer_types"][layer] == "sliding_attention"
            visible = (distance >= 0) & (
                distance < (geometry["sliding_window"] if local else count)
            )
            h = norm(x, f"{at}.input_layernorm")
            q, k, v = (
                (h @ weight(f"{at}.self_attn.{n}_proj").T).reshape(count, -1, dim) for n in "qkv"
            )
            if gemma:
                q, k = (norm(y, f"{at}.self_attn.{n}_norm") for y, n in ((q, "q"), (k, "k")))
            tables = rope_tables(geometry, local, count)
            assert q.shape[1:] == (heads, dim) and k.shape[1:] == (kv_heads, dim)
            h = attend(rotate(q, *tables), rotate(k, *tables), v, visible)
            h = h @ weight(f"{at}.self_attn.o_proj").T
            x = x + (norm(h, f"{at}.post_attention_layernorm") if gemma else h)
            h = norm(
                x, f"{at}.pre_feedforward_layernorm" if gemma else f"{at}.post_attention_layernorm"
            )
            gate, up = (h @ weight(f"{at}.mlp.{n}_proj").T for n in ("gate", "up"))
            h = (_gelu(gate) if gemma else gate / (1 + np.exp(-gate))) * up
            h = h @ weight(f"{at}.mlp.down_proj").T
            x = x + (norm(h, f"{at}.post_feedforward_layernorm") if gemma else h)
        last = norm(x[-1], "norm")
        rows, step = geometry["vocab_size"], 16384
        return np.concatenate(
            [table[i : min(i + step, rows)].astype(np.float64) @ last for i in range(0, rows, step)]
        )


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def rope_tables(geometry: Any, local: bool, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines [positions, head_dim / 2]; ``local`` is for layers with a window."""
    parameters = geometry["rope_parameters"]
    if "full_attention" in parameters:
        parameters = parameters["sliding_attention" if local else "full_attention"]
    dim = geometry["head_dim"]
    speed = parameters["rope_theta"] ** -(np.arange(0, dim, 2, dtype=np.float64) / dim)
    if parameters["rope_type"] == "llama3":
        speed = speed * llama3_factors(parameters, speed)
    angles = np.arange(positions)[:, None] * speed
    return np.cos(angles), np.sin(angles)


def llama3_factors(parameters: Any, speed: np.ndarray) -> np.ndarray:
    """What each of the angles per position is multiplied by in Llama 3."""
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    turns = parameters["original_max_position_embeddings"] * speed / (2 * math.pi)
    keep = np.clip((turns - low) / (high - low), 0, 1)
    return keep + (1 - keep) / parameters["factor"]
