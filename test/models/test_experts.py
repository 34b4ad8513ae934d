"""Experts, against NumPy written from the definition."""

import numpy as np
import pytest
from test_parity import FAST

import rlx
from rlx.flow import FlowError, ModelFlow
from rlx.flow.stages import Experts, MoeStage

HIDDEN, SIZE, COUNT = 6, 5, 4
EXPERTS = Experts("gate", "up", "down", COUNT, SIZE, "relu")
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


WEIGHTS = {
    "router": normal(COUNT, HIDDEN),
    "gate": normal(COUNT, SIZE, HIDDEN),
    "up": normal(COUNT, SIZE, HIDDEN),
    "down": normal(COUNT, HIDDEN, SIZE),
    "shared.gate_proj.weight": normal(3, HIDDEN),
    "shared.up_proj.weight": normal(3, HIDDEN),
    "shared.down_proj.weight": normal(HIDDEN, 3),
    "shared_gate.weight": normal(1, HIDDEN),
}
X = normal(2, 7, HIDDEN)


def run(stage: MoeStage, x: np.ndarray, **weights: np.ndarray) -> np.ndarray:
    flow = ModelFlow("f").input("x", ["B", "S", HIDDEN]).stage(stage)
    return rlx.compile(flow, FAST, weights={**WEIGHTS, **weights})(x)


def block(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    return (np.maximum(x @ gate.T, 0) * (x @ up.T)) @ down.T


def definition(x: np.ndarray, router: np.ndarray, top_k: int, normalize: bool) -> np.ndarray:
    result = np.zeros(x.shape)
    for row in np.ndindex(*x.shape[:-1]):
        scores = np.float64(x[row]) @ np.float64(router).T
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        chosen = np.argsort(-shares, kind="stable")[:top_k]
        total = shares[chosen].sum() if normalize else 1.0
        for expert in chosen:
            own = (np.float64(WEIGHTS[name][expert]) for name in ("gate", "up", "down"))
            result[row] += shares[expert] / total * block(np.float64(x[row]), *own)
    return result


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    """1e-5 of the largest magnitude: everything is f32."""
    assert found.shape == wanted.shape and found.dtype == np.float32
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(("top_k", "normalize"), [(1, True), (2, False), (3, True), (4, False)])
def test_shares(top_k: int, normalize: bool) -> None:
    found = run(MoeStage("router", EXPERTS, top_k, normalize), X)
    close(found, definition(X, WEIGHTS["router"], top_k, normalize))


def test_among_equal_experts_the_first_are_chosen() -> None:
    router = WEIGHTS["router"].copy()
    router[[0, 2, 3]] = router[1]
    found = run(MoeStage("router", EXPERTS, 2), X, router=router)
    close(found, definition(X, router, 2, True))


def test_experts_that_no_row_chooses_do_not_run() -> None:
    x = np.abs(X)
    router = WEIGHTS["router"].copy()
    router[1] = -50.0
    broken = {name: WEIGHTS[name].copy() for name in ("gate", "up", "down")}
    for array in broken.values():
        array[1] = np.nan
    found = run(MoeStage("router", EXPERTS, 2), x, router=router, **broken)
    close(found, definition(x, router, 2, True))
    # Chosen by one row, they do, and the other rows do not notice.
    x[1, 3] = -x[1, 3]
    found = run(MoeStage("router", EXPERTS, 2), x, router=router, **broken)
    assert np.isnan(found[1, 3]).all()
    found[1, 3] = wanted = definition(x, router, 2, True)[1, 3]
    assert np.isfinite(wanted).all()
    close(found, definition(x, router, 2, True))


def test_gates_and_ups_in_one_weight() -> None:
    packed = np.concatenate([WEIGHTS["gate"], WEIGHTS["up"]], axis=1)
    experts = Experts("both", "both", "down", COUNT, SIZE, "relu")
    found = run(MoeStage("router", experts, 2), X, both=packed)
    close(found, definition(X, WEIGHTS["router"], 2, True))


def test_an_expert_for_all() -> None:
    found = run(MoeStage("router", EXPERTS, 2, shared="shared", shared_size=3), X)
    own = (np.float64(WEIGHTS[f"shared.{name}_proj.weight"]) for name in ("gate", "up", "down"))
    gate = np.float64(X) @ np.float64(WEIGHTS["shared_gate.weight"]).T
    extra = block(np.float64(X), *own) / (1 + np.exp(-gate))
    close(found, definition(X, WEIGHTS["router"], 2, True) + extra)


@pytest.mark.parametrize("top_k", [0, 5])
def test_number_of_experts(top_k: int) -> None:
    with pytest.raises(FlowError, match=f"expects top_k from 1 to the 4 experts, but got {top_k}"):
        run(MoeStage("router", EXPERTS, top_k), X)
