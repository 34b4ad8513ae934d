"""`rlx.embedding`: compiled against the reference, the reference against torch."""

import numpy as np
import pytest
import torch
from harness import check, dtype_names, dynamic_sizes, few, many, random, run
from hypothesis import given
from hypothesis import strategies as st

from rlx.dialects.embedding import EmbeddingOp
from rlx.runtime import ExecutionError


@st.composite
def cases(draw):
    rows, width = draw(st.sampled_from([1, 3, 50])), draw(st.sampled_from([1, 5, 16]))
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 7]), min_size=0, max_size=3))
    kind = draw(st.sampled_from([np.int32, np.int64]))
    ids = np.random.default_rng(3).integers(rows, size=shape).astype(kind)
    return random((rows, width), draw(dtype_names())), ids, draw(dynamic_sizes(2, len(shape)))


def compare(case):
    table, ids, dynamic = case
    check(EmbeddingOp, table, ids, dynamic=dynamic, tolerance=0)


@few
@given(cases())
def test_lowering(case):
    compare(case)


@pytest.mark.slow
@many
@given(cases())
def test_lowering_widely(case):
    compare(case)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("dynamic", [(), True])
def test_first_and_last_row(kind, dynamic):
    compare((random((4, 3)), np.array([[0, 3]], kind), dynamic))


@pytest.mark.parametrize("dynamic", [(), True])
@pytest.mark.parametrize("bad", [-1, 4, -(2**31), 2**31 - 1, 2**63 - 1, -(2**63), 2**32])
def test_ids_outside_the_table(bad, dynamic):
    kind = np.int32 if -(2**31) <= bad < 2**31 else np.int64
    ids = np.array([[0, 1], [bad, 3]], kind)
    with pytest.raises(ExecutionError, match=r"ids must be in \[0, rows of table\)"):
        run(EmbeddingOp, random((4, 3)), ids, dynamic=dynamic)
    with pytest.raises(IndexError, match=r"outside \[0, 4\)"):
        EmbeddingOp.reference(random((4, 3)), ids)


def test_empty_table():
    with pytest.raises(ExecutionError, match="table must have at least one row"):
        run(EmbeddingOp, random((0, 3)), np.array([0]), dynamic=True)


def test_reference_is_torch():
    table, ids = random((9, 4)), np.array([[3, 0], [8, 8]])
    expected = torch.nn.functional.embedding(torch.from_numpy(ids), torch.from_numpy(table))
    assert np.array_equal(EmbeddingOp.reference(table, ids), expected.numpy())
