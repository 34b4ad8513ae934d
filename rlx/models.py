"""`rlx.load_model`: a checkpoint directory in Hugging Face layout to a model that runs."""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rlx import dtypes
from rlx.compiler import compile
from rlx.encoder import Encoder
from rlx.flow import BuiltModel, CastWeights, ModelFlow, SafetensorsWeights, WeightSource
from rlx.flow.errors import ConfigError, FlowError, WeightError
from rlx.flow.gguf import GgufWeights
from rlx.flow.layout import LayoutWeights
from rlx.flow.recipes import (
    DecoderConfig,
    HfConfig,
    cached_decoder_flow,
    decoder_flow,
    read_config,
    window_lengths,
)
from rlx.flow.recipes.bert import bert_layout, read_bert
from rlx.host import ir
from rlx.runtime import Executable
from rlx.runtime.decoder import Callback, Decoder
from rlx.runtime.kv_cache import KvCache, LayerSpec
from rlx.runtime.tokens import expect_below, integers, integers_like, token_ids

__all__ = ["Model", "load_model"]

_FLOATS = {
    "bf16": "bf16",
    "bfloat16": "bf16",
    "f16": "f16",
    "float16": "f16",
    "f32": "f32",
    "float32": "f32",
}

# Prefixes of the decoder's weights and of its head: a text model, the text part of a multimodal
# one in its older and newer layout, and a bare decoder.
_PREFIXES = (
    ("model.", ""),
    ("language_model.model.", "language_model."),
    ("model.language_model.", ""),
    ("", ""),
)


def load_model(
    directory: str | Path,
    target: str = "cpu",
    dtype: Any = None,
    *,
    max_positions: int | None = None,
    capacity: int | None = None,
    quantize: str | None = None,
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> "Model | Encoder":
    """Loads ``config.json`` and safetensors from a directory, or a GGUF file.

    Args:
        directory: where they are, or a ``.gguf`` file.
        target: what to compile for, on first use.
        dtype: ``"f32"``, ``"bf16"`` or ``"f16"``, or a NumPy dtype: what weights are converted to
            and activations are stored in; by default what the configuration says, or else the
            weights.
        max_positions: the longest sequence; by default what the configuration says.
        capacity: how many tokens per sequence :meth:`Model.new_cache` makes room for by default,
            and the most that generation may use.
        quantize: how the weights of projections are stored, as in :func:`rlx.compile`: ``"int8"``
            or ``"int8{group=64}"``; None for ``dtype``.
        threads: how many threads to use, as in :func:`rlx.compile`.
        progress: called with the name of each step of a compilation as it begins.

    Returns:
        A language model, or for ``bert`` an :class:`rlx.encoder.Encoder`.

    Raises:
        ConfigError: the configuration cannot be read, or its model is not supported.
        WeightError: weights are missing or damaged, or contradict the configuration.
        ValueError: an unknown dtype, or an argument that is not for this kind of model.
    """
    path = Path(directory)
    file = GgufWeights(path) if path.suffix == ".gguf" else None
    hf = HfConfig.load(path / "config.json") if file is None else file.config()
    if hf.fields.get("model_type") == "bert":
        if max_positions is not None or capacity is not None:
            raise ValueError("an encoder takes neither max_positions nor capacity")
        return _load_encoder(hf, SafetensorsWeights(path), target, dtype, quantize, threads)
    config = read_config(hf)
    weights: WeightSource = SafetensorsWeights(path) if file is None else file
    if config.layout:
        weights = LayoutWeights(weights, config.layout)
    prefix, head_prefix = _prefixes(weights)
    if dtype is None:
        name = _stored_dtype(hf, weights, f"{prefix}embed_tokens.weight")
    else:
        name = _dtype_name(dtype)
    return Model(
        config,
        CastWeights(weights, dtypes.NAMES[_FLOATS[name]]),
        target=target,
        prefix=prefix,
        head_prefix=head_prefix,
        max_positions=max_positions,
        capacity=capacity,
        special_tokens=_special_tokens(hf, path),
        quantize=quantize,
        threads=threads,
        progress=progress,
    )


def _load_encoder(
    hf: HfConfig,
    weights: WeightSource,
    target: str,
    dtype: Any,
    quantize: str | None,
    threads: int | None,
) -> Encoder:
    config = read_bert(hf)
    table = "embeddings.word_embeddings.weight"
    prefix = "bert." if f"bert.{table}" in set(weights.keys()) else ""
    weights = LayoutWeights(weights, bert_layout(prefix))
    name = _stored_dtype(hf, weights, prefix + table) if dtype is None else _dtype_name(dtype)
    cast = CastWeights(weights, dtypes.NAMES[_FLOATS[name]])
    return Encoder(config, cast, target=target, prefix=prefix, quantize=quantize, threads=threads)


def _special_tokens(hf: HfConfig, directory: Path) -> dict[str, Any]:
    """Which tokens end a sequence and which pads it, from where Transformers looks for them."""
    sources = [hf.fields, hf.fields.get("text_config") or {}]
    path = directory / "generation_config.json"
    if path.is_file():
        sources.insert(0, HfConfig.load(path).fields)
    found = {}
    for name in ("eos_token_id", "pad_token_id"):
        found[name] = next((s[name] for s in sources if s.get(name) is not None), None)
    ends = found["eos_token_id"]
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if not all(isinstance(end, int) for end in ends):
        raise hf.error(f"expected an integer or integers as 'eos_token_id', got {ends}")
    pad = found["pad_token_id"]
    if not isinstance(pad, int | None):
        raise hf.error(f"expected an integer as 'pad_token_id', got {pad!r}")
    return {"eos_token_ids": tuple(ends), "pad_token_id": pad}


def _dtype_name(dtype: Any) -> str:
    try:
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    except TypeError:
        name = ""
    if name not in _FLOATS:
        raise ValueError(f"expected dtype 'f32', 'bf16' or 'f16', got {dtype!r}")
    return name


def _prefixes(weights: WeightSource) -> tuple[str, str]:
    keys = set(weights.keys())
    for prefix, head_prefix in _PREFIXES:
        if f"{prefix}embed_tokens.weight" in keys:
            return prefix, head_prefix
    return _PREFIXES[0]


def _stored_dtype(hf: HfConfig, weights: WeightSource, key: str) -> str:
    """The dtype that the configuration names, or else that of the embedding table."""
    text = hf.fields.get("text_config") or {}
    for fields in (hf.fields, text):
        for field in ("dtype", "torch_dtype"):
            if fields.get(field) is not None:
                name = str(fields[field]).removeprefix("torch.")
                if name not in _FLOATS:
                    raise hf.error(f"unsupported {field} '{name}'; pass dtype= to convert")
                return name
    name = str(weights.get(key).dtype)
    if name not in _FLOATS:
        raise WeightError(
            f"weight '{key}' in {weights.origin(key)} has dtype {name}; pass dtype= to convert"
        )
    return name


class Model:
    """A decoder-only language model. Made by :func:`load_model`.

    Compiled on first use; the compiled code takes any batch size and sequence length.

    Attributes:
        config: what the model is made of.
        weights: where its parameters come from.
        target: what it is compiled for.
        max_positions: the longest sequence it takes.
        capacity: how many tokens per sequence :meth:`new_cache` makes room for by default.
        quantize: how the weights of projections are stored, as in :func:`rlx.compile`.
        threads: how many threads it uses, as in :func:`rlx.compile`.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: WeightSource,
        *,
        target: str = "cpu",
        prefix: str = "model.",
        head_prefix: str = "",
        max_positions: int | None = None,
        capacity: int | None = None,
        special_tokens: dict[str, Any] | None = None,
        quantize: str | None = None,
        threads: int | None = None,
        progress: Callable[[str], None] | None = None,
    ):
        self.config = config
        self.quantize = quantize
        self.threads = threads
        self._progress = progress
        self.weights = weights
        self.target = target
        self._prefix = prefix
        self._head_prefix = head_prefix
        self.max_positions = _max_positions(config, max_positions)
        self.capacity = _capacity(self.max_positions, capacity)
        self._limit = capacity
        self._special_tokens = special_tokens or {}
        self._executables: dict[tuple[bool, bool], Executable] = {}

    def make_flow(self, *, masked: bool = False, taps: bool = False) -> ModelFlow:
        """See :func:`rlx.flow.recipes.decoder_flow`."""
        return decoder_flow(
            self.config,
            prefix=self._prefix,
            head_prefix=self._head_prefix,
            max_positions=self.max_positions,
            masked=masked,
            taps=taps,
        )

    @cached_property
    def flow(self) -> ModelFlow:
        """The flow from ``input_ids`` to ``logits``."""
        return self.make_flow()

    @cached_property
    def built(self) -> BuiltModel:
        """The module of :attr:`flow`, with parameters."""
        return self.build(self.flow)

    @property
    def module(self) -> ir.Module:
        """The IR; ``str()`` gives its text."""
        return self.built.module

    def build(self, flow: ModelFlow) -> BuiltModel:
        """Builds a flow with the weights of this model.

        Raises:
            WeightError: weights are missing or contradict the configuration.
        """
        built = flow.build(self.weights)
        self._check_unused(built)
        return built

    def _check_unused(self, built: BuiltModel) -> None:
        """Weights that nothing reads are a sign that the configuration is not theirs."""
        head = f"{self._head_prefix}lm_head.weight"
        keys = self.weights.keys()
        for key in keys:
            ours = key.startswith((self._prefix, head.removesuffix("weight")))
            if not ours or key in built.parameters or key.endswith("rotary_emb.inv_freq"):
                continue
            where = self.weights.origin(key)
            if key != head:
                raise WeightError(
                    f"{where} holds '{key}', which the configuration has no place for"
                )
            table = self.config.head_key(self._prefix)
            if not np.array_equal(self.weights.get(key), self.weights.get(table)):
                raise WeightError(
                    f"{where} holds '{key}' and '{table}' with different values, but the "
                    "configuration ties them (tie_word_embeddings)"
                )

    # -- running ---------------------------------------------------------------------------------

    def logits(
        self, input_ids: Any, attention_mask: Any = None, position_ids: Any = None
    ) -> np.ndarray:
        """Logits of every position.

        Args:
            input_ids: integers [B, S].
            attention_mask: integers or booleans [B, S]; zero hides a token from all others, as
                padding is. What comes out at hidden tokens has no meaning.
            position_ids: integers [S] or [B, S] that RoPE turns by; 0 to S - 1 by default.

        Returns:
            [B, S, vocab_size], in the dtype of the model.

        Raises:
            ValueError: an argument has another shape or dtype, an id is outside the vocabulary, or
                a position is outside the RoPE tables.
        """
        return self._run(input_ids, attention_mask, position_ids, taps=False)[0]

    def taps(
        self, input_ids: Any, attention_mask: Any = None, position_ids: Any = None
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Like :meth:`logits`, and the keys and values of each layer.

        Returns:
            The logits, and per layer keys (normed and turned by RoPE) and values, each
            [B, S, num_kv_heads * head_dim].
        """
        logits, *taps = self._run(input_ids, attention_mask, position_ids, taps=True)
        return logits, list(zip(taps[::2], taps[1::2], strict=True))

    # -- with a cache ----------------------------------------------------------------------------

    @cached_property
    def decoder(self) -> Decoder:
        """The compiled function that runs on a cache, and what drives it."""
        built = self.build(self.make_cached_flow())
        return Decoder(
            self._compile(built),
            [
                LayerSpec(
                    f"cache.{index}.key",
                    f"cache.{index}.value",
                    layer.num_kv_heads * layer.head_dim,
                    layer.num_kv_heads * layer.head_dim,
                    layer.sliding_window,
                )
                for index, layer in self.config.cached_layers()
            ],
            dtypes.NAMES[self._dtype],
            self.config.vocab_size,
            self.max_positions,
            window_lengths,
            **self._special_tokens,
        )

    def make_cached_flow(self) -> ModelFlow:
        """See :func:`rlx.flow.recipes.cached_decoder_flow`."""
        return cached_decoder_flow(
            self.config,
            prefix=self._prefix,
            head_prefix=self._head_prefix,
            max_positions=self.max_positions,
            cache_dtype=self._dtype,
        )

    @property
    def _dtype(self) -> str:
        """Element type of the embedding table, and so of hidden states, keys and values."""
        dtype = self.weights.get(f"{self._prefix}embed_tokens.weight").dtype
        return next(name for name, known in dtypes.NAMES.items() if known == dtype)

    def new_cache(self, batch: int, capacity: int | None = None, *, chunk: int = 512) -> KvCache:
        """An empty cache of keys and values.

        Args:
            batch: how many sequences.
            capacity: how many tokens a sequence may have; :attr:`capacity` by default.
            chunk: how many tokens at most the compiled code is given at once.

        Raises:
            ValueError: a size below 1, or a capacity above :attr:`max_positions`.
        """
        return self.decoder.new_cache(batch, self.capacity if capacity is None else capacity, chunk)

    def prefill(
        self, input_ids: Any, cache: KvCache, attention_mask: Any = None, *, last_only: bool = False
    ) -> np.ndarray:
        """See :meth:`rlx.runtime.decoder.Decoder.prefill`."""
        return self.decoder.prefill(input_ids, cache, attention_mask, last_only=last_only)

    def decode(self, input_ids: Any, cache: KvCache) -> np.ndarray:
        """See :meth:`rlx.runtime.decoder.Decoder.decode`."""
        return self.decoder.decode(input_ids, cache)

    def stream(
        self, input_ids: Any, max_new_tokens: int, attention_mask: Any = None, **options: Any
    ) -> Iterator[np.ndarray]:
        """See :meth:`rlx.runtime.decoder.Decoder.stream`."""
        options = {"capacity": self._limit, **options}
        return self.decoder.stream(input_ids, max_new_tokens, attention_mask, **options)

    def generate(
        self,
        input_ids: Any,
        max_new_tokens: int,
        attention_mask: Any = None,
        *,
        callback: Callback | None = None,
        **options: Any,
    ) -> np.ndarray:
        """See :meth:`rlx.runtime.decoder.Decoder.generate`."""
        options = {"capacity": self._limit, **options}
        return self.decoder.generate(
            input_ids, max_new_tokens, attention_mask, callback=callback, **options
        )

    # -- internals -------------------------------------------------------------------------------

    def _compile(self, built: BuiltModel) -> Executable:
        return compile(
            built,
            self.target,
            quantize=self.quantize,
            threads=self.threads,
            progress=self._progress,
        )

    def _run(
        self, input_ids: Any, attention_mask: Any, position_ids: Any, *, taps: bool
    ) -> list[np.ndarray]:
        ids = token_ids(input_ids)
        expect_below(self.config.vocab_size, "input_ids", ids)
        if ids.shape[1] > self.max_positions and position_ids is None:
            raise ValueError(
                f"expected at most {self.max_positions} tokens per sequence, got {ids.shape[1]}; "
                "load the model with a larger max_positions"
            )
        inputs = {"input_ids": ids}
        masked = attention_mask is not None or position_ids is not None
        if masked:
            mask = np.ones_like(ids) if attention_mask is None else attention_mask
            inputs["attention_mask"] = integers_like(ids, "attention_mask", mask)
            inputs["position_ids"] = self._positions(position_ids, ids)
        return list(self._executable(masked, taps).run(inputs).values())

    def _positions(self, positions: Any, ids: np.ndarray) -> np.ndarray:
        if positions is None:
            positions = np.arange(ids.shape[1], dtype=np.int64)
        array = integers("position_ids", positions)
        if array.shape not in (ids.shape, (1, ids.shape[1]), ids.shape[1:]):
            raise ValueError(
                f"expected position_ids [S] or [B, S] with [B, S] = {list(ids.shape)}, "
                f"got shape {list(array.shape)}"
            )
        if array.min() < 0 or array.max() >= self.max_positions:
            raise ValueError(
                f"expected position_ids in [0, {self.max_positions}), "
                f"got {int(array.min())} to {int(array.max())}"
            )
        return np.ascontiguousarray(np.broadcast_to(array, ids.shape))

    def _executable(self, masked: bool, taps: bool) -> Executable:
        if (masked, taps) not in self._executables:
            plain = not masked and not taps
            built = self.built if plain else self.build(self.make_flow(masked=masked, taps=taps))
            self._executables[masked, taps] = self._compile(built)
        return self._executables[masked, taps]


def _capacity(max_positions: int, wanted: int | None) -> int:
    if wanted is None:
        return min(max_positions, 4096)
    if not 1 <= wanted <= max_positions:
        raise FlowError(
            f"expected a capacity of at least 1 and at most {max_positions}, the number of "
            f"positions of the model, got {wanted}"
        )
    return wanted


def _max_positions(config: DecoderConfig, wanted: int | None) -> int:
    """How many rows the RoPE tables have."""
    limits = [spec.limit for _, spec in config.ropes if spec.limit is not None]
    if wanted is None:
        return min([config.max_positions, *limits])
    if wanted < 1:
        raise FlowError(f"expected max_positions of at least 1, got {wanted}")
    if limits and wanted > min(limits):
        raise ConfigError(
            f"expected max_positions of at most {min(limits)}, got {wanted}: past it, this kind of "
            "RoPE changes its frequencies with the length of the sequence, which is not supported"
        )
    if config.learned_positions and wanted > config.max_positions:
        raise ConfigError(
            f"expected max_positions of at most {config.max_positions}, the positions that the "
            f"model has learned, got {wanted}"
        )
    return wanted
