"""Arguments that share memory."""

import itertools

import numpy as np

from rlx.runtime.overlap import find_overlap, spans_of


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
