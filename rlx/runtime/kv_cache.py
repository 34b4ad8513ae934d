"""The keys and values of earlier tokens, for decoding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["KvCache", "LayerSpec"]


@dataclass(frozen=True)
class LayerSpec:
    """What a layer keeps of each token.

    Attributes:
        key: its input and output in the compiled function with the keys, such as ``"cache.3.key"``.
        value: the same for values.
        key_width: elements per token of the keys.
        value_width: elements per token of the values.
        window: how many tokens a query sees, its own included; None for all.
    """

    key: str
    value: str
    key_width: int
    value_width: int
    window: int | None = None


class _Rows:
    """The caches of the layers that see equally far, which hold the same rows.

    Attributes:
        layers: these layers.
        window: how many tokens they see; None for all.
        capacity: rows per sequence.
        lengths: rows in use, int64 [B]: the last tokens of each sequence.
        arrays: by name, [B, capacity, width], where the compiled code runs.
    """

    def __init__(
        self,
        layers: Sequence[LayerSpec],
        window: int | None,
        batch: int,
        capacity: int,
        dtype: np.dtype,
        zeros: Callable[..., Any],
    ):
        self.layers = tuple(layers)
        self.window = window
        self.capacity = capacity
        self.lengths = np.zeros(batch, np.int64)
        self.arrays: dict[str, Any] = {}
        for layer in layers:
            # Memory that was never written to takes up no room.
            self.arrays[layer.key] = zeros((batch, capacity, layer.key_width), dtype)
            self.arrays[layer.value] = zeros((batch, capacity, layer.value_width), dtype)

    def make_room(self, rows: int) -> None:
        """Moves what a window still sees to the front, if ``rows`` more have no place behind it."""
        if self.window is None or self.lengths.max() + rows <= self.capacity:
            return
        kept = np.minimum(self.lengths, self.window - 1)
        for array in self.arrays.values():
            host = np.asarray(array)  # a copy if it lies elsewhere
            for sequence, length, keep in zip(host, self.lengths, kept, strict=True):
                sequence[:keep] = sequence[length - keep : length]
            if host is not array:
                array.write(host)
        self.lengths[:] = kept


class KvCache:
    """Keys and values of the tokens that a batch of sequences has so far.

    Layers with a window keep the last tokens only: at least as many as the window sees.

    Args:
        layers: what the model keeps.
        batch: how many sequences.
        capacity: how many tokens a sequence may have.
        dtype: of keys and values.
        chunk: how many tokens the model should be given at once; more are given in parts.
        zeros: makes an array of a shape and dtype where the compiled code runs.

    Attributes:
        batch: how many sequences.
        capacity: how many tokens a sequence may have.
        lengths: how many tokens each sequence has, int64 [B].
        chunk: how many tokens the model may be given at once.
    """

    def __init__(
        self,
        layers: Sequence[LayerSpec],
        batch: int,
        capacity: int,
        dtype: Any,
        chunk: int = 512,
        zeros: Callable[..., Any] = np.zeros,
    ):
        for name, size in (("batch", batch), ("capacity", capacity), ("chunk", chunk)):
            if size < 1:
                raise ValueError(f"expected a {name} of at least 1, got {size}")
        self.batch = batch
        self.capacity = capacity
        self.chunk = chunk
        self.lengths = np.zeros(batch, np.int64)
        self._groups: list[_Rows] = []
        for window in dict.fromkeys(layer.window for layer in layers):
            rows = capacity
            if window is not None:
                # Rows move once in so many tokens as there is room for past the window.
                rows = min(capacity, window - 1 + max(window, chunk))
            same = [layer for layer in layers if layer.window == window]
            self._groups.append(_Rows(same, window, batch, rows, np.dtype(dtype), zeros))

    def __repr__(self) -> str:
        return (
            f"<KvCache of {self.batch} sequences of {self.lengths.tolist()} tokens, "
            f"capacity {self.capacity}, {self.nbytes} bytes>"
        )

    @property
    def nbytes(self) -> int:
        """Bytes that keys and values take up when the cache is full."""
        return sum(array.nbytes for group in self._groups for array in group.arrays.values())

    @property
    def arrays(self) -> dict[str, Any]:
        """Keys and values by name, each [B, rows, width]; compiled code updates them in place."""
        return {name: array for group in self._groups for name, array in group.arrays.items()}

    def rows(self, window: int | None) -> np.ndarray:
        """How many rows the layers with that window hold of each sequence, int64 [B]."""
        return next(group.lengths for group in self._groups if group.window == window)

    @property
    def windows(self) -> tuple[int, ...]:
        """The windows of the layers."""
        return tuple(group.window for group in self._groups if group.window is not None)

    def make_room(self, rows: int) -> None:
        """Sees to it that ``rows`` more tokens, at most ``chunk``, have a place.

        Raises:
            ValueError: they would be more than the capacity.
        """
        longest = int(self.lengths.max())
        if longest + rows > self.capacity:
            raise ValueError(
                f"expected at most {self.capacity} tokens per sequence, the capacity of the cache, "
                f"got {longest + rows}"
            )
        for group in self._groups:
            group.make_room(rows)

    def advance(self, counts: np.ndarray) -> None:
        """Counts tokens as present that compiled code has appended: ``counts`` [B]."""
        self.lengths += counts
        for group in self._groups:
            group.lengths += counts

    def drop(self, counts: Any) -> None:
        """Forgets the last tokens of each sequence, such as rejected guesses.

        Args:
            counts: how many, an integer or integers [B]; at most those of the last call that
                appended, or any number for a model without windows.

        Raises:
            ValueError: a sequence has fewer, or a layer with a window no longer holds what it
                would see.
        """
        counts = np.broadcast_to(np.asarray(counts, np.int64), (self.batch,))
        if (counts < 0).any() or (counts > self.lengths).any():
            raise ValueError(
                f"expected to drop between 0 and {self.lengths.tolist()} tokens, "
                f"got {counts.tolist()}"
            )
        left = self.lengths - counts
        for group in self._groups:
            needed = left if group.window is None else np.minimum(left, group.window - 1)
            if (group.lengths - counts < needed).any():
                raise ValueError(
                    f"cannot drop {counts.tolist()} tokens: layers with a window of "
                    f"{group.window} have forgotten what came before"
                )
        self.advance(-counts)

    def clear(self) -> None:
        """Forgets everything."""
        self.lengths[:] = 0
        for group in self._groups:
            group.lengths[:] = 0
