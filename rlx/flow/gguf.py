"""GGUF files: weights under the names of a Hugging Face checkpoint, and a configuration.

The package ``gguf`` (extra ``gguf``) reads the file and unpacks quantized blocks. What the
converter of llama.cpp changes on the way is undone here: the order of rows of Llama's query and
key projections, and the 1 that is added to the norms of Gemma.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from rlx.flow.errors import ConfigError, WeightError
from rlx.flow.recipes.hf_config import HfConfig
from rlx.flow.weights import missing
from rlx.runtime.lazy import LazyArray, forget_pages

__all__ = ["GgufWeights"]

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_SANDWICH = {
    **_NAMES,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}

# Metadata of every architecture, and the field of a Hugging Face configuration that says the same.
_FIELDS = {
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "rope.freq_base": "rope_theta",
}
_GEMMA_FIELDS = {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
_TOKENS = {"eos_token_id", "bos_token_id", "padding_token_id"}

# Read below, or without a meaning of their own.
_KNOWN = {
    "attention.sliding_window_pattern",
    "attention.value_length",
    "rope.dimension_count",
    "rope.freq_base_swa",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "vocab_size",
}


@dataclass(frozen=True)
class _Arch:
    """What one of llama.cpp's architectures is here.

    Attributes:
        model_type: Hugging Face's name.
        names: our names of weights.
        fields: further metadata that it has.
        swapped: whether rows of query and key projections lie in pairs.
        norm_shift: what has been added to the weights of norms.
        big_layers: how many layers the variant has that scales scores by hidden_size / heads.
        window_pattern: every n-th layer sees all keys, the others a window.
    """

    model_type: str
    names: dict[str, str] = field(default_factory=lambda: _NAMES)
    fields: dict[str, str] = field(default_factory=dict)
    swapped: bool = False
    norm_shift: float = 0.0
    big_layers: int | None = None
    window_pattern: int | None = None


_ARCHS = {
    "llama": _Arch("llama", swapped=True),
    "qwen2": _Arch("qwen2"),
    "qwen3": _Arch("qwen3"),
    "gemma": _Arch("gemma", norm_shift=1.0),
    "gemma2": _Arch("gemma2", _SANDWICH, _GEMMA_FIELDS, False, 1.0, 46, 2),
    "gemma3": _Arch("gemma3_text", _SANDWICH, _GEMMA_FIELDS, False, 1.0, 62, 6),
}


def _package(path: Path) -> ModuleType:
    try:
        import gguf
    except ImportError:
        raise WeightError(
            f"reading {path} needs the package gguf: install rlx with the extra 'gguf'"
        ) from None
    return gguf


class GgufWeights:
    """Weights in a GGUF file, under Hugging Face's names.

    F32, F16 and BF16 are used where they lie in the file. Everything else that the package
    ``gguf`` can unpack, such as Q8_0 and Q4_K, is a lazy array of f32.

    Args:
        path: the file.

    Raises:
        WeightError: it cannot be read, is of another architecture, or holds unknown tensors.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._gguf = _package(self.path)
        if not self.path.is_file():
            raise WeightError(f"no such weight file: {self.path}")
        try:
            reader = self._gguf.GGUFReader(str(self.path))
            self._metadata = {
                key: entry
                for key, entry in reader.fields.items()
                if not key.startswith(("GGUF.", "tokenizer."))
            }
            self._tokens = {key: reader.fields.get(f"tokenizer.ggml.{key}") for key in _TOKENS}
        except (ValueError, KeyError, IndexError, OSError, OverflowError, MemoryError) as error:
            raise WeightError(f"cannot read weight file {self.path}: {error}") from None
        name = self._value("general.architecture")
        if name not in _ARCHS:
            raise WeightError(
                f"{self.path}: unknown architecture {name!r}; known: {', '.join(_ARCHS)}"
            )
        self._name, self._arch = name, _ARCHS[name]
        if self._value("split.count", 1) not in (0, 1):
            raise WeightError(f"{self.path} is one of several files; merge them first")
        self._tensors: dict[str, Any] = {}
        self._rope_factors: np.ndarray | None = None
        for tensor in reader.tensors:
            if tensor.name == "rope_freqs.weight":
                self._rope_factors = np.asarray(tensor.data, np.float64)
                continue
            self._tensors[self._key(tensor.name)] = tensor
        self._loaded: dict[str, np.ndarray | LazyArray] = {}

    def _key(self, name: str) -> str:
        match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
        found = match and self._arch.names.get(match[2])
        if not match or not found or found.startswith(("model.", "lm_head")) == bool(match[1]):
            raise WeightError(
                f"{self.path} holds '{name}', which is not known of architecture '{self._name}'"
            )
        layer = f"model.layers.{match[1]}." if match[1] else ""
        return f"{layer}{found}.{match[3]}"

    # -- weights ---------------------------------------------------------------------------------

    def keys(self) -> Iterable[str]:
        return self._tensors.keys()

    def get(self, key: str) -> np.ndarray | LazyArray:
        if key not in self._tensors:
            raise missing(key, self._tensors, self.origin(key))
        if key not in self._loaded:
            self._loaded[key] = self._load(key, self._tensors[key])
        return self._loaded[key]

    def origin(self, key: str) -> str:
        return str(self.path)

    def _load(self, key: str, tensor: Any) -> np.ndarray | LazyArray:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        array = self._unpacked(key, tensor, shape)
        heads = {
            "q_proj": self._size("attention.head_count"),
            "k_proj": self._size("attention.head_count_kv", self._size("attention.head_count")),
        }
        count = heads.get(key.split(".")[-2])
        if self._arch.swapped and count is not None:
            if shape[0] % (2 * count):
                raise WeightError(f"'{key}' in {self.path}: {shape[0]} rows for {count} heads")
            return _changed(array, lambda rows: _unswapped(rows, count))
        if self._arch.norm_shift and key.endswith("norm.weight"):
            shift = array.dtype.type(self._arch.norm_shift)
            return _changed(array, lambda weight: weight - shift)
        return array

    def _unpacked(self, key: str, tensor: Any, shape: tuple[int, ...]) -> np.ndarray | LazyArray:
        kinds = self._gguf.GGMLQuantizationType
        kind, data, where = tensor.tensor_type, tensor.data, f"'{key}' in {self.path}"
        plain = {kinds.F32: np.float32, kinds.F16: np.float16, kinds.BF16: ml_dtypes.bfloat16}
        if kind in plain:
            return np.asarray(data).view(plain[kind]).reshape(shape)

        def make() -> np.ndarray:
            unpacked = self._gguf.quants.dequantize(data, kind)
            forget_pages(np.asarray(data))
            return np.asarray(unpacked, np.float32).reshape(shape)

        if not hasattr(self._gguf.quants, kind.name):
            raise WeightError(f"weight {where} is of type {kind.name}, which is not supported")
        return LazyArray(shape, np.float32, make)

    # -- configuration ---------------------------------------------------------------------------

    def _value(self, name: str, default: Any = None) -> Any:
        entry = self._metadata.get(name)
        return default if entry is None else _plain(entry.contents())

    def _size(self, name: str, default: Any = None) -> int:
        value = self._value(f"{self._name}.{name}", default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(
                f"{self.path}: expected an integer as '{self._name}.{name}', got {value!r}"
            )
        return value

    def config(self) -> HfConfig:
        """The configuration that the metadata stands for.

        Raises:
            ConfigError: there is metadata that may change the model and is not known here.
        """
        arch, name = self._arch, self._name
        known = {**_FIELDS, **arch.fields}
        fields: dict[str, Any] = {"model_type": arch.model_type}
        for key in self._metadata:
            own = key.removeprefix(f"{name}.")
            if own == key:
                continue
            if own not in known and own not in _KNOWN:
                raise ConfigError(
                    f"{self.path}: metadata '{key}' is not known and may change the result"
                )
            if own in known:
                fields[known[own]] = self._value(key)
        table = self._tensors.get("model.embed_tokens.weight")
        if table is not None:
            fields["vocab_size"] = int(table.shape[-1])
        fields["tie_word_embeddings"] = "lm_head.weight" not in self._tensors
        heads, hidden = self._size("attention.head_count"), self._size("embedding_length")
        head_dim = fields.setdefault(
            "head_dim", self._value(f"{name}.rope.dimension_count", hidden // heads)
        )
        if self._value(f"{name}.attention.value_length", head_dim) != head_dim:
            raise ConfigError(f"{self.path}: keys and values of different sizes are not supported")
        if self._value(f"{name}.rope.dimension_count", head_dim) != head_dim:
            raise ConfigError(f"{self.path}: RoPE on a part of each head is not supported")
        self._add_biases(fields)
        if arch.model_type == "qwen2":
            del fields["head_dim"]  # it has no such field
            if head_dim * heads != hidden:
                raise ConfigError(
                    f"{self.path}: expected heads of {hidden // heads}, got {head_dim}"
                )
        if arch.big_layers is not None:
            big = fields.get("num_hidden_layers") == arch.big_layers
            fields["query_pre_attn_scalar"] = hidden // heads if big else head_dim
        if arch.window_pattern is not None:
            self._add_windows(fields, arch.window_pattern)
        self._add_rope(fields, head_dim)
        for key, value in self._tokens.items():
            if value is not None:
                fields[key.replace("padding", "pad")] = _plain(value.contents())
        return HfConfig(fields, str(self.path))

    def _add_biases(self, fields: dict[str, Any]) -> None:
        biases = {key.split(".", 3)[-1] for key in self._tensors if key.endswith(".bias")}
        if self._arch.model_type != "qwen2":
            fields["attention_bias"] = any(key.startswith("self_attn") for key in biases)
        if self._arch.model_type == "llama":
            fields["mlp_bias"] = any(key.startswith("mlp") for key in biases)

    def _add_windows(self, fields: dict[str, Any], pattern: int) -> None:
        given = self._value(f"{self._name}.attention.sliding_window_pattern", pattern)
        count = self._size("block_count")
        if isinstance(given, list):
            slides = [bool(flag) for flag in given]
        elif isinstance(given, int) and given > 0:
            slides = [bool((index + 1) % given) for index in range(count)]
        else:
            raise ConfigError(f"{self.path}: unknown sliding_window_pattern {given!r}")
        fields["layer_types"] = [
            "sliding_attention" if slide else "full_attention" for slide in slides
        ]

    def _add_rope(self, fields: dict[str, Any], head_dim: int) -> None:
        prefix = f"{self._name}.rope."
        kind = self._value(f"{prefix}scaling.type", "none")
        factor = self._value(f"{prefix}scaling.factor", 1.0)
        local = self._value(f"{prefix}freq_base_swa")
        if local is not None:
            if self._arch.model_type != "gemma3_text":
                raise ConfigError(f"{self.path}: metadata '{prefix}freq_base_swa' is not supported")
            fields["rope_local_base_freq"] = local
        scaling: dict[str, Any] | None = None
        if kind == "linear":
            scaling = {"rope_type": "linear", "factor": factor}
        elif kind == "yarn":
            scaling = {"rope_type": "yarn", "factor": factor}
        elif kind != "none":
            raise ConfigError(f"{self.path}: unknown {prefix}scaling.type {kind!r}")
        original = self._value(f"{prefix}scaling.original_context_length")
        if scaling is not None and kind == "yarn" and original is not None:
            scaling["original_max_position_embeddings"] = original
        if self._rope_factors is not None:
            # Frequencies are divided by factors that the converter has worked out.
            if scaling is not None or self._rope_factors.shape != (head_dim // 2,):
                raise ConfigError(f"{self.path}: 'rope_freqs.weight' does not fit the metadata")
            factors = [float(value) for value in self._rope_factors]
            scaling = {
                "rope_type": "longrope",
                "short_factor": factors,
                "long_factor": factors,
                "attention_factor": 1.0,
            }
        if scaling is not None:
            fields["rope_scaling"] = scaling


def _plain(value: Any) -> Any:
    """A metadatum as a Python object; floats as short as they were before they became f32."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(str(np.float32(value)))
    return value


def _changed(source: np.ndarray | LazyArray, change: Any) -> LazyArray:
    def make() -> np.ndarray:
        array = np.asarray(source)
        changed = np.array(change(array), array.dtype, order="C")
        forget_pages(array)
        return changed

    return LazyArray(source.shape, source.dtype, make)


def _unswapped(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from (0, h, 1, h + 1, ...) to (0, 1, ...), where h is half of them."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)
