"""Prompts and tokens in, logits and tokens out: a compiled decoder with its cache."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from rlx.runtime.executable import Executable
from rlx.runtime.kv_cache import KvCache, LayerSpec
from rlx.runtime.sampling import Sampler
from rlx.runtime.tokens import expect_below, integers_like, token_ids

__all__ = ["Decoder"]

Callback = Callable[[np.ndarray], Any]


class Decoder:
    """A language model with a cache. Made by :attr:`rlx.models.Model.decoder`.

    Args:
        executable: the compiled function; see :func:`rlx.flow.recipes.cached_decoder_flow` for
            what it takes and returns.
        layers: what each layer keeps of a token.
        dtype: of keys and values.
        vocab_size: how many tokens there are.
        max_positions: the longest sequence.
        window_lengths: the name of the input with the lengths of layers with a window.
        eos_token_ids: tokens that end a sequence, by default.
        pad_token_id: what follows the end of a sequence; by default the first that ends it, or 0.

    Raises:
        ValueError: the function does not update the cache in place.
    """

    def __init__(
        self,
        executable: Executable,
        layers: Sequence[LayerSpec],
        dtype: Any,
        vocab_size: int,
        max_positions: int,
        window_lengths: Callable[[int], str],
        eos_token_ids: Sequence[int] = (),
        pad_token_id: int | None = None,
    ):
        _check_in_place(executable, layers)
        self.executable = executable
        self.layers = tuple(layers)
        self.dtype = np.dtype(dtype)
        self.vocab_size = vocab_size
        self.max_positions = max_positions
        self.eos_token_ids = tuple(eos_token_ids)
        self.pad_token_id = pad_token_id
        self._window_lengths = window_lengths

    def new_cache(self, batch: int, capacity: int, chunk: int = 512) -> KvCache:
        """An empty cache.

        Raises:
            ValueError: a size below 1, or a capacity above the number of positions of the model.
        """
        if capacity > self.max_positions:
            raise ValueError(
                f"expected a capacity of at most {self.max_positions}, the number of positions of "
                f"the model, got {capacity}"
            )
        zeros = self.executable.zeros
        return KvCache(self.layers, batch, capacity, self.dtype, chunk, zeros)

    # -- logits ----------------------------------------------------------------------------------

    def prefill(
        self, input_ids: Any, cache: KvCache, attention_mask: Any = None, *, last_only: bool = False
    ) -> np.ndarray:
        """Appends tokens to the cache and returns their logits.

        Args:
            input_ids: integers [B, S].
            cache: what :meth:`new_cache` made; it may hold earlier tokens.
            attention_mask: integers or booleans [B, S]: zero for padding, which may stand on the
                left or on the right and is not appended.
            last_only: whether only the logits of each sequence's last token are wanted, which
                saves the work for the others.

        Returns:
            [B, S, vocab_size], or [B, 1, vocab_size] with ``last_only``. What comes out for padding
            has no meaning.

        Raises:
            ValueError: an argument has another shape or type, an id is outside the vocabulary, the
                mask has holes, or the tokens are more than the capacity of the cache.
        """
        ids = self._ids(input_ids, cache)
        if attention_mask is None:
            first = np.zeros(len(ids), np.int64)
            counts = np.full(len(ids), ids.shape[1])
        else:
            first, counts = _extent(attention_mask, ids)
        width = int(counts.max())
        columns = np.minimum(first[:, None] + np.arange(width), ids.shape[1] - 1)
        tokens = np.take_along_axis(ids, columns, axis=1)
        longest = int(cache.lengths.max()) + width
        if longest > cache.capacity:
            raise ValueError(
                f"expected at most {cache.capacity} tokens per sequence, the capacity of the "
                f"cache, got {longest}"
            )
        if last_only:
            return self._last(tokens, counts, cache)
        logits = self._all(tokens, counts, cache)
        # Back to where the caller has the tokens.
        back = np.clip(np.arange(ids.shape[1]) - first[:, None], 0, width - 1)
        if width == ids.shape[1] and not first.any():
            return logits
        return np.take_along_axis(logits, back[..., None], axis=1)

    def decode(self, input_ids: Any, cache: KvCache) -> np.ndarray:
        """Appends the next tokens, one or several per sequence: [B, S] to logits [B, S, V].

        Raises:
            ValueError: see :meth:`prefill`.
        """
        return self.prefill(input_ids, cache)

    def _all(self, tokens: np.ndarray, counts: np.ndarray, cache: KvCache) -> np.ndarray:
        parts = []
        for start, part in _chunks(tokens, cache.chunk):
            rows = np.tile(np.arange(part.shape[1]), (len(part), 1))
            present = np.clip(counts - start, 0, part.shape[1])
            parts.append(self._step(part, rows, present, cache))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _last(self, tokens: np.ndarray, counts: np.ndarray, cache: KvCache) -> np.ndarray:
        result: np.ndarray | None = None
        for start, part in _chunks(tokens, cache.chunk):
            last = counts - 1 - start
            ends = (last >= 0) & (last < part.shape[1])
            # The head is computed where a sequence ends, and else for no row at all.
            rows = np.where(ends, last, 0)[:, None] if ends.any() else np.zeros((len(part), 0))
            present = np.clip(counts - start, 0, part.shape[1])
            logits = self._step(part, rows, present, cache)
            if ends.any():
                result = logits if result is None else np.where(ends[:, None, None], logits, result)
        assert result is not None  # every sequence has a last token
        return result

    def _step(
        self, tokens: np.ndarray, rows: np.ndarray, present: np.ndarray, cache: KvCache
    ) -> np.ndarray:
        """Runs the function once; the first ``present`` [B] tokens of each sequence count."""
        cache.make_room(tokens.shape[1])
        inputs: dict[str, Any] = {
            "input_ids": np.ascontiguousarray(tokens, np.int64),
            "logit_rows": np.ascontiguousarray(rows, np.int64),
            "lengths": cache.lengths,
            **cache.arrays,
        }
        for window in cache.windows:
            inputs[self._window_lengths(window)] = cache.rows(window)
        logits = np.asarray(self.executable.run(inputs)["logits"])
        cache.advance(present)
        return logits

    # -- tokens ----------------------------------------------------------------------------------

    def stream(
        self,
        input_ids: Any,
        max_new_tokens: int,
        attention_mask: Any = None,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        eos_token_id: int | Sequence[int] | None = None,
        pad_token_id: int | None = None,
        capacity: int | None = None,
    ) -> Iterator[np.ndarray]:
        """Continues prompts, and yields the next tokens, int64 [B], as they are found.

        Ends when every sequence has ended, or after ``max_new_tokens``. Arguments and errors are
        those of :meth:`generate`.
        """
        sampler = Sampler(temperature, top_k, top_p, seed)
        ends = self._ends(eos_token_id)
        pad = self._pad(pad_token_id, ends)
        ids = token_ids(input_ids)
        if max_new_tokens < 1:
            raise ValueError(f"expected max_new_tokens of at least 1, got {max_new_tokens}")
        longest = ids.shape[1]
        if attention_mask is not None:
            longest = int(_extent(attention_mask, ids)[1].max())
        needed = longest + max_new_tokens - 1  # the last token is never read
        room = self.max_positions if capacity is None else capacity
        if needed > room:
            what = "positions of the model" if capacity is None else "tokens that the cache holds"
            raise ValueError(
                f"expected a prompt and new tokens of at most {room + 1}, one more than the "
                f"{what}, got {longest} and {max_new_tokens}"
            )
        cache = self.new_cache(len(ids), needed)
        logits = self.prefill(ids, cache, attention_mask, last_only=True)
        return self._continue(logits, cache, max_new_tokens, sampler, ends, pad)

    def _continue(
        self,
        logits: np.ndarray,
        cache: KvCache,
        count: int,
        sampler: Sampler,
        ends: np.ndarray,
        pad: int,
    ) -> Iterator[np.ndarray]:
        done = np.zeros(cache.batch, bool)
        for step in range(count):
            tokens = np.where(done, pad, sampler(logits[:, -1]))
            done |= np.isin(tokens, ends)
            yield tokens
            if done.all() or step == count - 1:
                return
            logits = self.decode(tokens[:, None], cache)

    def generate(
        self,
        input_ids: Any,
        max_new_tokens: int,
        attention_mask: Any = None,
        *,
        callback: Callback | None = None,
        **options: Any,
    ) -> np.ndarray:
        """Continues prompts.

        Args:
            input_ids: integers [B, S].
            max_new_tokens: how many tokens at most to add.
            attention_mask: integers or booleans [B, S]: zero for padding.
            callback: called with the tokens of each step, int64 [B]; ends the generation when it
                returns something true.
            temperature: see :class:`rlx.runtime.sampling.Sampler`, also for the next three.
            top_p, top_k, seed: how tokens are picked.
            eos_token_id: tokens that end a sequence, one or several; by default what the model
                says, and ``()`` for none.
            pad_token_id: what follows the end of a sequence while others go on.
            capacity: how many tokens the cache may hold; by default as many as are needed.

        Returns:
            int64 [B, S + new]: the prompts as given, and what follows them.

        Raises:
            ValueError: an argument has another shape or type or is out of range, the mask has
                holes, or prompt and new tokens are more than ``capacity`` or the positions of the
                model.
        """
        tokens = []
        for step in self.stream(input_ids, max_new_tokens, attention_mask, **options):
            tokens.append(step)
            if callback is not None and callback(step):
                break
        return np.concatenate([token_ids(input_ids), np.stack(tokens, 1)], axis=1)

    def _ends(self, given: int | Sequence[int] | None) -> np.ndarray:
        ends = self.eos_token_ids if given is None else given
        return np.atleast_1d(np.asarray(ends, np.int64))

    def _pad(self, given: int | None, ends: np.ndarray) -> int:
        for pad in (given, self.pad_token_id):
            if pad is not None:
                break
        else:
            pad = int(ends[0]) if ends.size else 0
        if not 0 <= pad < self.vocab_size:
            raise ValueError(f"expected pad_token_id in [0, {self.vocab_size}), got {pad}")
        return pad

    def _ids(self, input_ids: Any, cache: KvCache) -> np.ndarray:
        ids = token_ids(input_ids)
        if len(ids) != cache.batch:
            raise ValueError(
                f"expected input_ids of {cache.batch} sequences, the batch of the cache, "
                f"got {len(ids)}"
            )
        expect_below(self.vocab_size, "input_ids", ids)
        return ids


def _check_in_place(executable: Executable, layers: Sequence[LayerSpec]) -> None:
    names = [spec.name for spec in executable.program.arguments]
    aliases = {spec.name: spec.alias for spec in executable.program.results}
    for layer in layers:
        for name in (layer.key, layer.value):
            alias = aliases.get(name)
            if alias is None or names[alias] != name:
                raise ValueError(f"expected a function that updates '{name}' in place")


def _chunks(tokens: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, tokens.shape[1], size):
        yield start, tokens[:, start : start + size]


def _extent(attention_mask: Any, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the tokens of each sequence begin, and how many they are."""
    live = integers_like(ids, "attention_mask", attention_mask) != 0
    first, counts = live.argmax(axis=1), live.sum(axis=1)
    if not counts.all():
        raise ValueError(
            f"expected attention_mask with at least one token per sequence, got none in sequence "
            f"{int(counts.argmin())}"
        )
    last = live.shape[1] - live[:, ::-1].argmax(axis=1)
    if (holes := last - first != counts).any():
        raise ValueError(
            "expected attention_mask to hide padding on the left or right only, but sequence "
            f"{int(holes.argmax())} has a hole"
        )
    return first, counts
