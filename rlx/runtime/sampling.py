"""From logits to the next tokens."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Sampler"]


@dataclass
class Sampler:
    """Picks tokens: the most likely ones, or random ones by their probability.

    Attributes:
        temperature: divides the logits; 0 picks the most likely token.
        top_k: how many of the most likely tokens to choose from; 0 for all.
        top_p: choose from the most likely tokens that together have at least this probability.
        seed: of the random numbers; None for different ones each time.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"expected a temperature of at least 0, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"expected a top_k of at least 0, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"expected a top_p above 0 and at most 1, got {self.top_p}")
        self._random = np.random.default_rng(self.seed)

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """The next token of each sequence: ``logits`` [B, V] to int64 [B]."""
        if self.temperature == 0:
            return logits.argmax(axis=-1).astype(np.int64)
        probabilities = self.probabilities(logits)
        threshold = self._random.random((len(logits), 1))
        # A sum that rounding leaves below 1 must not lead to an unlikely last token.
        totals = probabilities.cumsum(axis=-1)
        return (totals <= threshold * totals[:, -1:]).sum(axis=-1)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """What tokens are drawn with: ``logits`` [B, V] to float64 [B, V]."""
        scores = logits.astype(np.float64) / self.temperature
        if 0 < self.top_k < scores.shape[-1]:
            least = np.partition(scores, -self.top_k, axis=-1)[:, -self.top_k, None]
            scores = np.where(scores < least, -np.inf, scores)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        probabilities = weights / weights.sum(axis=-1, keepdims=True)
        if self.top_p < 1:
            order = np.argsort(-probabilities, axis=-1, kind="stable")
            ordered = np.take_along_axis(probabilities, order, axis=-1)
            # A token stays if those before it do not reach the mark without it.
            stays = ordered.cumsum(axis=-1) - ordered < self.top_p
            kept = np.zeros_like(stays)
            np.put_along_axis(kept, order, stays, axis=-1)
            probabilities = np.where(kept, probabilities, 0)
            probabilities /= probabilities.sum(axis=-1, keepdims=True)
        return probabilities
