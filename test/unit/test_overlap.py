"""Arguments that share memory."""

import itertools

import ml_dtypes
import numpy as np

from rlx.runtime.memory import address_of
from rlx.runtime.overlap import find_overlap, find_within, spans_of, union


def test_against_all_pairs() -> None:
    random = np.random.default_rng(0)
    seen = set()
    for _ in range(2000):
        count = int(random.integers(1, 6))
        starts = random.integers(0, 12, count)
        spans = [
            (int(start), int(start + random.integers(1, 6)), number)
            for number, start in enumerate(starts)
        ]
        written = {number for number in range(count) if random.random() < 0.4}
        pairs = {
            (a[2], b[2])
            for a, b in itertools.permutations(spans, 2)
            if a[2] in written and a[0] < b[1] and b[0] < a[1]
        }
        found = find_overlap(spans, written)
        assert found in pairs if pairs else found is None
        seen.add(found is None)
    assert seen == {True, False}


def test_spans() -> None:
    memory = np.zeros((4, 4), np.float32)
    spans = spans_of({3: memory[1:3], 5: memory[:0], 7: memory[3]})
    assert [(end - start, number) for start, end, number in spans] == [(32, 3), (16, 7)]
    assert spans[0][1] == spans[1][0]
    assert find_overlap(spans, {3, 7}) is None
    assert find_overlap(spans_of({0: memory, 1: memory[2]}), {1}) == (1, 0)


def test_bound_memory_against_all_pairs() -> None:
    random = np.random.default_rng(1)
    seen = set()
    for _ in range(2000):
        spans, others = (
            [
                (int(start), int(start + random.integers(1, 5)), number)
                for number, start in enumerate(random.integers(0, 24, random.integers(0, 5)))
            ]
            for _ in range(2)
        )
        written = {number for number in range(len(spans)) if random.random() < 0.5}
        merged = union(others)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(merged))
        covered = {byte for start, end, _ in others for byte in range(start, end)}
        assert covered == {byte for start, end, _ in merged for byte in range(start, end)}
        guilty = {n for start, end, n in spans if n in written and covered & {*range(start, end)}}
        found = find_within(spans, written, merged)
        assert found is None if not guilty else found is not None and found[0] in guilty
        seen.add(found is None)
    assert seen == {True, False}


def test_addresses() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    fixed = array.copy()
    fixed.flags.writeable = False
    for each in (array, array[1:, 2:], array.T, fixed, array[:0], np.array(1.0)):
        assert address_of(each) == each.ctypes.data
    assert address_of(array[1:]) == address_of(array) + 16
    half = array.astype(ml_dtypes.bfloat16)
    assert address_of(half) == half.ctypes.data
