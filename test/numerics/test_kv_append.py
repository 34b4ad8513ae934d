"""`rlx.kv_append`: compiled against the reference, and the run-time checks."""

import numpy as np
import pytest
from harness import check, dtype_names, dynamic_sizes, few, many, module_text, random, run
from hypothesis import given
from hypothesis import strategies as st

import rlx
from rlx.dialects.kv_append import KvAppendOp
from rlx.runtime import ExecutionError


@st.composite
def cases(draw):
    batch, rows, width = (draw(st.sampled_from(n)) for n in ([1, 2, 3], [1, 4, 9], [1, 6]))
    new = draw(st.integers(0, rows))
    lengths = draw(st.lists(st.integers(0, rows - new), min_size=batch, max_size=batch))
    kind = draw(st.sampled_from([np.int32, np.int64]))
    dtype = draw(dtype_names())
    cache, update = random((batch, rows, width), dtype), random((batch, new, width), dtype, 1)
    return cache, update, np.array(lengths, kind), draw(dynamic_sizes(3, 3, 1))


def compare(case):
    cache, update, lengths, dynamic = case
    check(KvAppendOp, cache, update, lengths, dynamic=dynamic, tolerance=0)


@few
@given(cases())
def test_lowering(case):
    compare(case)


@pytest.mark.slow
@many
@given(cases())
def test_lowering_widely(case):
    compare(case)


@pytest.mark.parametrize("dynamic", [(), True])
def test_full_and_empty(dynamic):
    lengths = np.array([0, 5])
    compare((random((2, 7, 3)), random((2, 2, 3), seed=1), lengths, dynamic))


@pytest.mark.parametrize("dynamic", [(), {(0, 1)}, {(1, 1)}])
def test_nothing_new(dynamic):
    compare((random((2, 7, 3)), random((2, 0, 3)), np.array([0, 7]), dynamic))


@pytest.mark.parametrize("dynamic", [(), True])
@pytest.mark.parametrize("bad", [-1, 6, 7, 2**31 - 1, -(2**63), 2**63 - 1])
def test_lengths_without_room(bad, dynamic):
    cache, update, lengths = random((2, 7, 3)), random((2, 2, 3)), np.array([0, bad])
    with pytest.raises(ExecutionError, match="leave room for update"):
        run(KvAppendOp, cache, update, lengths, dynamic=dynamic)
    with pytest.raises(IndexError, match="no room"):
        KvAppendOp.reference(cache, update, lengths)


def test_more_new_rows_than_the_cache_has():
    with pytest.raises(ExecutionError, match="leave room for update"):
        run(KvAppendOp, random((1, 2, 3)), random((1, 4, 3)), np.array([0]), dynamic=True)


@pytest.mark.parametrize(
    ("update", "lengths", "message"),
    [
        ((3, 1, 3), 2, "update must have the batch and width"),
        ((2, 1, 4), 2, "update must have the batch and width"),
        ((2, 1, 3), 3, "lengths must have one element per batch"),
    ],
)
def test_sizes_must_agree_at_run_time(update, lengths, message):
    with pytest.raises(ExecutionError, match=message):
        run(KvAppendOp, random((2, 4, 3)), random(update), np.zeros(lengths, int), dynamic=True)


def test_writable_cache_is_updated_in_place():
    cache, update, lengths = random((2, 7, 3)), random((2, 2, 3), seed=1), np.array([4, 0])
    expected = KvAppendOp.reference(cache, update, lengths)
    text, _ = module_text(KvAppendOp, [cache, update, lengths])
    donated = text.replace(
        "%arg0: tensor<2x7x3xf32>", "%arg0: tensor<2x7x3xf32> {bufferization.writable = true}"
    )
    rlx.compile(donated, cache=False)(cache, update, lengths)
    assert np.array_equal(cache, expected)
