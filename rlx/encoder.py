"""Encoders that run: token ids to vectors."""

from functools import cached_property
from typing import Any

import numpy as np

from rlx.compiler import compile
from rlx.flow import BuiltModel, WeightSource
from rlx.flow.errors import WeightError
from rlx.flow.recipes.bert import EncoderConfig, bert_flow
from rlx.host import ir
from rlx.runtime import Executable
from rlx.runtime.tokens import expect_below, integers_like, token_ids

__all__ = ["Encoder"]


class Encoder:
    """An encoder in the manner of BERT. Made by :func:`rlx.load_model`.

    Compiled on first use; the compiled code takes any batch size and sequence length.

    Attributes:
        config: what the model is made of.
        weights: where its parameters come from.
        target: what it is compiled for.
        quantize: how its weights are stored, as in :func:`rlx.compile`.
        threads: how many threads it uses, as in :func:`rlx.compile`.
    """

    def __init__(
        self,
        config: EncoderConfig,
        weights: WeightSource,
        *,
        target: str = "cpu",
        prefix: str = "",
        quantize: str | None = None,
        threads: int | None = None,
    ):
        self.config = config
        self.weights = weights
        self.target = target
        self.quantize = quantize
        self.threads = threads
        self._prefix = prefix
        self._executables: dict[str | None, Executable] = {}

    def build(self, pooling: str | None = None) -> BuiltModel:
        """The module of :func:`rlx.flow.recipes.bert.bert_flow`, with parameters.

        Raises:
            WeightError: weights are missing or contradict the configuration.
            ValueError: an unknown pooling.
        """
        flow = bert_flow(self.config, prefix=self._prefix, pooling=pooling)
        built = flow.build(self.weights)
        ours = (f"{self._prefix}embeddings.", f"{self._prefix}encoder.")
        for key in self.weights.keys():  # noqa: SIM118 -- no mapping
            used = key in built.parameters or key.endswith("position_ids")
            if key.startswith(ours) and not used:
                raise WeightError(
                    f"{self.weights.origin(key)} holds '{key}', which the configuration has no "
                    "place for"
                )
        return built

    @cached_property
    def built(self) -> BuiltModel:
        """The module from token ids to hidden states, with parameters."""
        return self.build()

    @property
    def module(self) -> ir.Module:
        """The IR; ``str()`` gives its text."""
        return self.built.module

    def encode(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        pooling: str | None = "mean",
    ) -> np.ndarray:
        """Hidden states of tokens, or a vector per sequence.

        Args:
            input_ids: integers [B, S].
            attention_mask: integers or booleans [B, S]; zero hides a token from all others, as
                padding is. What comes out at hidden tokens has no meaning.
            token_type_ids: integers [B, S]; zeros by default.
            pooling: ``"mean"`` of the hidden states of tokens that are not hidden, ``"cls"`` for
                that of the first token, or None for all of them.

        Returns:
            [B, hidden_size], or [B, S, hidden_size] without pooling, in the dtype of the model.

        Raises:
            ValueError: an argument has another shape or dtype, or an id is out of range.
        """
        config = self.config
        ids = token_ids(input_ids)
        if ids.shape[1] > config.max_positions:
            raise ValueError(
                f"expected at most {config.max_positions} tokens per sequence, got {ids.shape[1]}"
            )
        types = np.zeros_like(ids) if token_type_ids is None else token_type_ids
        mask = np.ones_like(ids) if attention_mask is None else attention_mask
        inputs = {
            "input_ids": ids,
            "attention_mask": integers_like(ids, "attention_mask", mask),
            "token_type_ids": integers_like(ids, "token_type_ids", types),
            "position_ids": np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy(),
        }
        expect_below(config.vocab_size, "input_ids", ids)
        expect_below(config.token_types, "token_type_ids", inputs["token_type_ids"])
        if pooling not in self._executables:
            built = self.built if pooling is None else self.build(pooling)
            self._executables[pooling] = compile(
                built, self.target, quantize=self.quantize, threads=self.threads
            )
        (result,) = self._executables[pooling].run(inputs).values()
        return result
