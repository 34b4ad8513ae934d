"""Writes the models of the benchmark as llama.cpp wants them."""

from pathlib import Path

import numpy as np

from bench.cases.model import Geometry
from bench.cases.model_reference import llama3_factors

__all__ = ["write_gguf"]

_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def write_gguf(geometry: Geometry, stored: str, path: Path) -> None:
    """Writes the weights of ``geometry.checkpoint()``.

    Args:
        geometry: the model.
        stored: ``"bf16"`` or ``"q8_0"``: how matrices are stored.
        path: of the file.
    """
    import gguf
    from safetensors import safe_open

    gemma = geometry.is_gemma
    writer = gguf.GGUFWriter(str(path.with_suffix(".tmp")), "gemma3" if gemma else "llama")
    writer.add_context_length(8192)
    writer.add_embedding_length(geometry["hidden_size"])
    writer.add_block_count(geometry["num_hidden_layers"])
    writer.add_feed_forward_length(geometry["intermediate_size"])
    writer.add_head_count(geometry["num_attention_heads"])
    writer.add_head_count_kv(geometry["num_key_value_heads"])
    writer.add_key_length(geometry["head_dim"])
    writer.add_value_length(geometry["head_dim"])
    writer.add_layer_norm_rms_eps(geometry["rms_norm_eps"])
    writer.add_vocab_size(geometry["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    rope = geometry["rope_parameters"]
    if gemma:
        writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
        writer.add_sliding_window(geometry["sliding_window"])
        # Every fourth layer sees everything.
        writer.add_sliding_window_pattern(len(geometry["layer_types"]))
    else:
        writer.add_rope_dimension_count(geometry["head_dim"])
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_tensor("rope_freqs.weight", _factors(geometry))
    kind = {
        "bf16": gguf.GGMLQuantizationType.BF16,
        "q8_0": gguf.GGMLQuantizationType.Q8_0,
    }[stored]
    with safe_open(geometry.checkpoint() / "model.safetensors", "numpy") as file:
        for name in geometry.tensors():
            array = file.get_tensor(name).astype(np.float32)
            if array.ndim == 2:
                if not gemma and name.endswith(("q_proj.weight", "k_proj.weight")):
                    array = _interleaved(array, geometry["head_dim"])
                data = gguf.quantize(array, kind)
                writer.add_tensor(_renamed(name, gemma), data, raw_dtype=kind)
            else:
                writer.add_tensor(_renamed(name, gemma), array + np.float32(gemma))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path.with_suffix(".tmp").rename(path)


def _renamed(name: str, gemma: bool) -> str:
    top = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm"}
    if name in top:
        return f"{top[name]}.weight"
    layer, _, part = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
    if part == "post_attention_layernorm":
        return f"blk.{layer}.{'post_attention_norm' if gemma else 'ffn_norm'}.weight"
    return f"blk.{layer}.{_NAMES[part]}.weight"


def _interleaved(weight: np.ndarray, dim: int) -> np.ndarray:
    """Rows of each head in the order of a rope that turns neighbours."""
    shape = weight.shape
    return weight.reshape(-1, 2, dim // 2, shape[1]).swapaxes(1, 2).reshape(shape)


def _factors(geometry: Geometry) -> np.ndarray:
    """By what each angle of Llama 3 is divided."""
    rope, dim = geometry["rope_parameters"], geometry["head_dim"]
    speed = rope["rope_theta"] ** -(np.arange(0, dim, 2, dtype=np.float64) / dim)
    return (1 / llama3_factors(rope, speed)).astype(np.float32)
