"""Language models cut to four layers, with random weights: a prompt, and one more token."""

import abc
import json
import math
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from bench.cases.base import BYTES, Arrays, Case, Reference

__all__ = ["GEMMA", "LLAMA", "Decode", "Geometry", "Prefill"]

_LAYERS = 4
CAPACITY = 640


@dataclass(frozen=True)
class Geometry:
    """A model's configuration, in the words of Hugging Face."""

    name: str
    fields: dict[str, Any] = field(hash=False)

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    @property
    def is_gemma(self) -> bool:
        """A Gemma 3 rather than a Llama 3."""
        return self["model_type"] == "gemma3_text"

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all weights."""
        hidden, width, dim = self["hidden_size"], self["intermediate_size"], self["head_dim"]
        q, k = self["num_attention_heads"] * dim, self["num_key_value_heads"] * dim
        found: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self["vocab_size"], hidden)
        }
        norms = ["input_layernorm", "post_attention_layernorm"]
        if self.is_gemma:
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        for layer in range(self["num_hidden_layers"]):
            prefix = f"model.layers.{layer}"
            shapes = {
                "self_attn.q_proj": (q, hidden),
                "self_attn.k_proj": (k, hidden),
                "self_attn.v_proj": (k, hidden),
                "self_attn.o_proj": (hidden, q),
                "mlp.gate_proj": (width, hidden),
                "mlp.up_proj": (width, hidden),
                "mlp.down_proj": (hidden, width),
            }
            shapes |= dict.fromkeys(norms, (hidden,))
            if self.is_gemma:
                shapes |= {"self_attn.q_norm": (dim,), "self_attn.k_norm": (dim,)}
            found |= {f"{prefix}.{name}.weight": shape for name, shape in shapes.items()}
        return found | {"model.norm.weight": (hidden,)}

    def matrix_elements(self) -> int:
        """Elements of the weights that a token is multiplied with; the table is also the head."""
        return sum(math.prod(shape) for shape in self.tensors().values() if len(shape) == 2)

    def checkpoint(self) -> Path:
        """A folder with ``config.json`` and bf16 weights; made on the first call."""
        base = Path(os.environ.get("RLX_BENCH_DIR") or Path(tempfile.gettempdir(), "rlx-bench"))
        folder = base / self.name
        if not (folder / "config.json").exists():
            from safetensors.numpy import save_file

            folder.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(1)
            weights = {}
            for name, shape in self.tensors().items():
                values = random.standard_normal(shape, np.float32)
                values *= shape[-1] ** -0.5 if len(shape) == 2 else 0.1
                if len(shape) == 1 and not self.is_gemma:
                    values += 1
                weights[name] = values.astype(ml_dtypes.bfloat16)
            save_file(weights, folder / "model.safetensors", {"format": "pt"})
            (folder / "config.json").write_text(json.dumps(self.fields))
        return folder


LLAMA = Geometry(
    "llama-3.2-1b-4",
    {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
)

GEMMA = Geometry(
    "gemma-3-1b-4",
    {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "dtype": "bfloat16",
        "vocab_size": 262144,
        "hidden_size": 1152,
        "intermediate_size": 6912,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "sliding_window": 512,
        "layer_types": [*["sliding_attention"] * 3, "full_attention"],
        "tie_word_embeddings": True,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    },
)


@dataclass(frozen=True)
class Model(Case):
    """What a model computes.

    Attributes:
        geometry: the model.
        prompt: how many tokens are prefilled.
    """

    geometry: Geometry = LLAMA
    prompt: int = 512

    @property
    def dtypes(self) -> tuple[str, ...]:
        return ("f32", "bf16", "int8")

    def inputs(self) -> Arrays:
        ids = np.random.default_rng(1).integers(0, self.geometry["vocab_size"], self.prompt + 1)
        return {"ids": ids[None]}

    def rows(self) -> int:
        """The logits of the last position."""
        return 1

    def reference(self, rows: np.ndarray) -> Reference:
        from bench.cases.model_reference import last_logits

        return {"model": last_logits(self.geometry, self.inputs()["ids"][0, : self.length()])[None]}

    @abc.abstractmethod
    def length(self) -> int:
        """How many tokens the logits come after."""

    def _attention_flops(self, queries: int) -> float:
        keys = np.arange(queries) + self.length() - queries + 1
        heads = self.geometry["num_attention_heads"] * self.geometry["head_dim"]
        return 4.0 * _LAYERS * heads * float(keys.sum())

    def _table(self) -> int:
        return self.geometry["vocab_size"] * self.geometry["hidden_size"]


@dataclass(frozen=True)
class Prefill(Model):
    """All tokens of a prompt at once; logits of the last one."""

    def length(self) -> int:
        return self.prompt

    def flops(self) -> float:
        layers = self.geometry.matrix_elements() - self._table()
        products = 2.0 * layers * self.prompt + 2.0 * self._table()
        return products + self._attention_flops(self.prompt)

    def bytes(self, dtype: str) -> float:
        return float(self.geometry.matrix_elements() * BYTES[dtype])


@dataclass(frozen=True)
class Decode(Model):
    """One token after a prompt."""

    def length(self) -> int:
        return self.prompt + 1

    def flops(self) -> float:
        return 2.0 * self.geometry.matrix_elements() + self._attention_flops(1)

    def bytes(self, dtype: str) -> float:
        geometry = self.geometry
        cache = 2 * _LAYERS * self.prompt * geometry["num_key_value_heads"] * geometry["head_dim"]
        # Which weights are quantized is up to the tool: all of them, but for norms.
        kept = BYTES["bf16" if dtype == "int8" else dtype]
        return float(geometry.matrix_elements() * BYTES[dtype] + cache * kept)
