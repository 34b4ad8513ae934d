"""Stages of encoders on their own: what they compute and what they refuse."""

import numpy as np
import pytest

import rlx
from rlx.flow import FlowError, ModelFlow, WeightError
from rlx.flow.stages import AddEmbeddingStage, ClsPoolStage, MeanPoolStage
from rlx.runtime import ExecutionError

TABLE = np.arange(12, dtype=np.float32).reshape(3, 4)
X = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)


def flow(*, ids: str = "i64", rank: int = 2, x: str = "f32") -> ModelFlow:
    return ModelFlow("test").input("x", ["B", "S", 4], x).input("ids", ["B", "S", "T"][:rank], ids)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_rows_are_added(kind: type) -> None:
    stage = AddEmbeddingStage("t", "ids", (3, 4))
    run = rlx.compile(
        flow(ids=np.dtype(kind).name.replace("nt", "")).stage(stage), weights={"t": TABLE}
    )
    ids = np.random.default_rng(1).integers(0, 3, (2, 5)).astype(kind)
    np.testing.assert_array_equal(run(X, ids), X + TABLE[ids])
    with pytest.raises(ExecutionError, match="ids must be in"):
        run(X, ids + 3)
    with pytest.raises(ExecutionError, match="'ids' must have a row for each token"):
        run(X, ids[:, :4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": "f32"}, r"expects i32 or i64 ids in 'ids', but got tensor<\?x\?xf32>"),
        ({"rank": 1}, r"expects ids and table for hidden states tensor<\?x\?x4xf32>, but got"),
        ({"x": "bf16"}, "but got tensor<.*xi64> and tensor<3x4xf32>"),
    ],
)
def test_tables_that_do_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(FlowError, match=message):
        flow(**changes).stage(AddEmbeddingStage("t", "ids")).build({"t": TABLE})


def test_tables_of_another_shape() -> None:
    with pytest.raises(WeightError, match=r"expects weight 't' of shape \[3, 5\]"):
        flow().stage(AddEmbeddingStage("t", "ids", (3, 5))).build({"t": TABLE})
    with pytest.raises(FlowError, match="requires the model input 'types'"):
        flow().stage(AddEmbeddingStage("t", "types")).build({"t": TABLE})


@pytest.mark.parametrize("kind", ["i1", "i32", "i64"])
def test_means(kind: str) -> None:
    mask = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0]]).astype(rlx.dtypes.NAMES[kind])
    mean = rlx.compile(flow(ids=kind).stage(MeanPoolStage("ids")), weights={})
    values = X.copy()
    values[~mask.astype(bool)] = np.nan  # hidden tokens are not looked at
    expected = X[0, [0, 2, 3]].astype(np.float64).mean(0)
    found = mean(values, mask)
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    assert not found[1].any()
    with pytest.raises(ExecutionError, match=r"input 'ids' must be \[B, S\] like the tokens"):
        mean(values, mask[:, :4])


def test_first_token() -> None:
    first = rlx.compile(flow().stage(ClsPoolStage()), weights={})
    np.testing.assert_array_equal(first(X, np.zeros((2, 5), np.int64)), X[:, 0])


def test_masks_and_hidden_states_that_do_not_fit() -> None:
    with pytest.raises(FlowError, match=r"expects the input 'ids' to be an i1 or integer tensor"):
        flow(ids="f32").stage(MeanPoolStage("ids")).build({})
    two = ModelFlow("test").input("x", ["B", 4])
    for stage in (MeanPoolStage("x"), ClsPoolStage()):
        with pytest.raises(FlowError, match=r"expects hidden states \[B, S, hidden\], but got"):
            two.copy().stage(stage).build({})
