"""The cache of keys and values: what it keeps, and when it moves what it keeps."""

import numpy as np
import pytest

from rlx.runtime.kv_cache import KvCache, LayerSpec

LAYERS = [
    LayerSpec("a.key", "a.value", 2, 3, window=4),
    LayerSpec("b.key", "b.value", 1, 1),
    LayerSpec("c.key", "c.value", 2, 2, window=4),
    LayerSpec("d.key", "d.value", 1, 1, window=1),
]


def append(cache: KvCache, tokens: np.ndarray, counts: np.ndarray) -> None:
    """What compiled code does: writes all rows behind those in use; ``counts`` of them count."""
    rows = tokens.shape[1]
    cache.make_room(rows)
    for layer in LAYERS:
        lengths = cache.rows(layer.window)
        for name in (layer.key, layer.value):
            array = cache.arrays[name]
            for b, length in enumerate(lengths):
                array[b, length : length + rows] = tokens[b, :, None]
    cache.advance(counts)


@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_the_last_tokens_are_there(chunk: int) -> None:
    random = np.random.default_rng(chunk)
    cache = KvCache(LAYERS, 3, 60, np.float32, chunk)
    arrays = dict(cache.arrays)
    history: list[list[float]] = [[], [], []]
    while True:
        rows = int(random.integers(1, min(chunk, 6) + 1))
        if max(map(len, history)) + rows > 60:
            break
        tokens = random.random((3, rows)).astype(np.float32)
        counts = random.integers(0, rows + 1, 3)
        append(cache, tokens, counts)
        for b in range(3):
            history[b] += tokens[b, : counts[b]].tolist()
        if random.random() < 0.2:
            dropped = np.minimum(counts, 1)
            cache.drop(dropped)
            for b in range(3):
                history[b] = history[b][: len(history[b]) - dropped[b]]
        assert cache.lengths.tolist() == [len(h) for h in history]
        for layer in LAYERS:
            lengths = cache.rows(layer.window)
            for b, length in enumerate(lengths):
                assert length >= min(len(history[b]), (layer.window or 1000) - 1)
                for name in (layer.key, layer.value):
                    kept = cache.arrays[name][b, :length]
                    wanted = np.array(history[b][len(history[b]) - length :], np.float32)
                    np.testing.assert_array_equal(
                        kept, np.broadcast_to(wanted[:, None], kept.shape)
                    )
    # The arrays are the same ones all along, and those of a window are bounded by it.
    assert all(cache.arrays[name] is array for name, array in arrays.items())
    rows_of = {name: array.shape[1] for name, array in arrays.items()}
    assert rows_of["b.key"] == 60
    assert rows_of["a.value"] == rows_of["c.key"] == min(60, 3 + max(4, chunk))
    assert rows_of["d.key"] == min(60, max(1, chunk))


def test_rows_move_seldom() -> None:
    """Each move pays for as many tokens as a window has."""
    cache = KvCache(LAYERS[:1], 1, 100, np.float32, 1)
    moves = 0
    for _ in range(99):
        before = cache.rows(4)[0]
        cache.make_room(1)
        moves += cache.rows(4)[0] < before
        cache.advance(np.array([1]))
    assert 0 < moves <= 99 // 4


def test_memory_and_text() -> None:
    cache = KvCache(LAYERS, 2, 100, np.float16, 8)
    assert cache.windows == (4, 1)
    assert cache.nbytes == 2 * 2 * (11 * (5 + 4) + 100 * 2 + 8 * 2)
    assert repr(cache) == (
        f"<KvCache of 2 sequences of [0, 0] tokens, capacity 100, {cache.nbytes} bytes>"
    )
    cache.make_room(100)
    with pytest.raises(ValueError, match="at most 100 tokens per sequence, the capacity of the"):
        cache.make_room(101)


def test_what_cannot_be_dropped() -> None:
    cache = KvCache(LAYERS, 1, 30, np.float32, 2)
    for _ in range(10):
        append(cache, np.zeros((1, 2), np.float32), np.array([2]))
    cache.drop(2)
    with pytest.raises(ValueError, match=r"cannot drop \[9\] tokens: layers with a window of 4"):
        cache.drop(9)
    for bad in (-1, 19):
        with pytest.raises(ValueError, match=rf"between 0 and \[18\] tokens, got \[{bad}\]"):
            cache.drop(bad)
    assert cache.lengths.tolist() == [18]
    cache.clear()
    assert cache.lengths.tolist() == cache.rows(4).tolist() == cache.rows(None).tolist() == [0]
