"""Writes a tiny Gemma-3-style checkpoint in Hugging Face layout, from a fixed seed.

    python examples/make_tiny_gemma3.py DIRECTORY             # config, weights, tokenizer.json
    python examples/make_tiny_gemma3.py DIRECTORY --record    # and reference.safetensors

The checkpoint needs NumPy, safetensors and tokenizers. ``--record`` runs it with PyTorch and
Transformers and stores what went in and came out: ``input_ids`` (i64 [B, S]) and ``logits`` (f32
[B, S, V]).
``examples/tiny-gemma3`` was made this way.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

SEED = 3
CONFIG = {
    "architectures": ["Gemma3ForCausalLM"],
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "bos_token_id": 2,
    "dtype": "float32",
    "eos_token_id": 1,
    "final_logit_softcapping": None,
    "head_dim": 16,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 48,
    "intermediate_size": 96,
    "layer_types": [*["sliding_attention"] * 3, "full_attention"],
    "max_position_embeddings": 512,
    "model_type": "gemma3_text",
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 24,
    "rms_norm_eps": 1e-06,
    "rope_parameters": {
        "full_attention": {"factor": 8.0, "rope_theta": 1000000.0, "rope_type": "linear"},
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
    },
    "sliding_window": 8,
    "tie_word_embeddings": True,
    "vocab_size": 256,
}


def make_weights() -> dict[str, np.ndarray]:
    """Random weights under the names that a Gemma 3 checkpoint has."""
    random = np.random.default_rng(SEED)
    hidden, width = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    queries = CONFIG["num_attention_heads"] * CONFIG["head_dim"]
    keys = CONFIG["num_key_value_heads"] * CONFIG["head_dim"]

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.standard_normal((rows, columns), np.float32) / np.float32(columns**0.5)

    def norm(size: int) -> np.ndarray:
        # Gemma adds 1 to the weight of a norm.
        return random.standard_normal(size, np.float32) * np.float32(0.2)

    weights = {"model.embed_tokens.weight": matrix(CONFIG["vocab_size"], hidden)}
    for layer in range(CONFIG["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        weights |= {
            f"{prefix}.input_layernorm.weight": norm(hidden),
            f"{prefix}.self_attn.q_proj.weight": matrix(queries, hidden),
            f"{prefix}.self_attn.k_proj.weight": matrix(keys, hidden),
            f"{prefix}.self_attn.v_proj.weight": matrix(keys, hidden),
            f"{prefix}.self_attn.q_norm.weight": norm(CONFIG["head_dim"]),
            f"{prefix}.self_attn.k_norm.weight": norm(CONFIG["head_dim"]),
            f"{prefix}.self_attn.o_proj.weight": matrix(hidden, queries),
            f"{prefix}.post_attention_layernorm.weight": norm(hidden),
            f"{prefix}.pre_feedforward_layernorm.weight": norm(hidden),
            f"{prefix}.mlp.gate_proj.weight": matrix(width, hidden),
            f"{prefix}.mlp.up_proj.weight": matrix(width, hidden),
            f"{prefix}.mlp.down_proj.weight": matrix(hidden, width),
            f"{prefix}.post_feedforward_layernorm.weight": norm(hidden),
        }
    return weights | {"model.norm.weight": norm(hidden)}


def make_tokenizer() -> Tokenizer:
    """Bytes as tokens, and a few pairs of them: as many tokens as the model has."""
    names = bytes_to_unicode()
    # Bytes that no UTF-8 text holds make room for the special tokens.
    absent = {0xC0, 0xC1, *range(0xF5, 0x100)}
    tokens = ["<pad>", "<eos>", "<bos>", *(names[i] for i in range(256) if i not in absent)]
    pairs = ["he", "in", "er", "an", "th", "on", "re", "ll", "or", "es"]
    vocabulary = {token: number for number, token in enumerate([*tokens, *pairs])}
    assert len(vocabulary) == CONFIG["vocab_size"]
    tokenizer = Tokenizer(models.BPE(vocabulary, [(pair[0], pair[1]) for pair in pairs]))
    tokenizer.add_special_tokens(["<pad>", "<eos>", "<bos>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    bos = ("<bos>", vocabulary["<bos>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[bos]
    )
    return tokenizer


def bytes_to_unicode() -> dict[int, str]:
    """The character that byte-level tokenizers write for each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + number) for number, byte in enumerate(others)
    }


def make_checkpoint(directory: Path) -> None:
    """Writes ``config.json``, ``model.safetensors`` and ``tokenizer.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(CONFIG, indent=2) + "\n"
    (directory / "config.json").write_text(text, encoding="utf-8")
    save_file(make_weights(), directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "tokenizer.json").write_text(
        make_tokenizer().to_str(pretty=True) + "\n", encoding="utf-8"
    )


def record(directory: Path) -> None:
    """Runs the checkpoint with Transformers and writes ``reference.safetensors``."""
    import torch
    from transformers import AutoModelForCausalLM

    ids = np.random.default_rng(SEED + 1).integers(0, CONFIG["vocab_size"], (2, 24))
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        logits = model(torch.from_numpy(ids)).logits.numpy()
    save_file({"input_ids": ids, "logits": logits}, directory / "reference.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--record", action="store_true", help="needs torch and transformers")
    arguments = parser.parse_args()
    make_checkpoint(arguments.directory)
    if arguments.record:
        record(arguments.directory)


if __name__ == "__main__":
    main()
