"""Checkpoints in other layouts than Llama's: what is read from where, and what is refused."""

import numpy as np
import pytest

from rlx.flow import DictWeights, MissingWeightError, WeightError
from rlx.flow.layout import Drop, LayoutWeights, Rename, Rule, Split, Stack, rename_all
from rlx.runtime.lazy import LazyArray

MATRIX = np.arange(60.0, dtype=np.float32).reshape(12, 5)


def read(arrays: dict[str, np.ndarray], *rules: Rule) -> LayoutWeights:
    return LayoutWeights(DictWeights(arrays), rules)


def same(found: np.ndarray | LazyArray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    made = np.asarray(found)
    np.testing.assert_array_equal(made, wanted)
    assert made.flags.c_contiguous


def test_names() -> None:
    rules = rename_all("gpt.", [("h.{}.fc", "layers.{}.mlp.up_proj"), ("wte", "embed_tokens")])
    weights = read(
        {
            "gpt.h.10.fc.weight": MATRIX,
            "gpt.h.10.fc.bias": MATRIX[0],
            "gpt.wte.weight": MATRIX,
            "gpt.h.1.fc.more.weight": MATRIX,
            "other": MATRIX,
        },
        Drop("gpt.h.{}.mask"),
        *rules,
    )
    assert list(weights.keys()) == [
        "model.layers.10.mlp.up_proj.weight",
        "model.layers.10.mlp.up_proj.bias",
        "model.embed_tokens.weight",
        "gpt.h.1.fc.more.weight",
        "other",
    ]
    # Nothing is copied.
    assert weights.get("model.layers.10.mlp.up_proj.weight") is MATRIX
    assert weights.get("other") is MATRIX
    assert weights.origin("model.embed_tokens.weight") == "the given arrays"


def test_dropped_weights_are_not_there() -> None:
    weights = read({"h.0.mask": MATRIX, "h.0.masks": MATRIX}, Drop("h.{}.mask"))
    assert list(weights.keys()) == ["h.0.masks"]


def test_parts_one_after_the_other_are_views() -> None:
    rule = Split("qkv.{}", (("q.{}", 6), ("k.{}", 2), ("v.{}", 4)))
    weights = read({"qkv.weight": MATRIX, "qkv.bias": MATRIX[:, 0]}, rule)
    same(weights.get("q.weight"), MATRIX[:6])
    same(weights.get("k.weight"), MATRIX[6:8])
    same(weights.get("v.weight"), MATRIX[8:])
    same(weights.get("k.bias"), MATRIX[6:8, 0].copy())
    assert np.shares_memory(weights.get("k.weight"), MATRIX)


def test_parts_of_each_group_are_lazy() -> None:
    weights = read({"qkv.weight": MATRIX}, Split("qkv.{}", (("q.{}", 1), ("k.{}", 2)), groups=4))
    assert isinstance(weights.get("q.weight"), LazyArray)
    same(weights.get("q.weight"), MATRIX[[0, 3, 6, 9]])
    same(weights.get("k.weight"), MATRIX[[1, 2, 4, 5, 7, 8, 10, 11]])


def test_matrices_stored_the_other_way_round() -> None:
    flipped = np.ascontiguousarray(MATRIX.T)
    weights = read(
        {"fc.weight": flipped, "fc.bias": MATRIX[:, 0], "qkv.weight": flipped},
        Rename("fc.{}", "up.{}", transpose=True),
        Split("qkv.{}", (("q.{}", 3), ("k.{}", 9)), transpose=True),
    )
    same(weights.get("up.weight"), MATRIX)
    same(weights.get("up.bias"), MATRIX[:, 0].copy())
    same(weights.get("k.weight"), MATRIX[3:])


def test_stacks() -> None:
    arrays = {f"experts.{i}.up.weight": MATRIX + i for i in (2, 0, 1)}
    arrays["experts.10.up.weight"] = MATRIX
    weights = read(arrays, Stack("experts.[].{}.weight", "stacked.{}", 3))
    assert list(weights.keys()) == ["stacked.up", "experts.10.up.weight"]
    same(weights.get("stacked.up"), np.stack([MATRIX, MATRIX + 1, MATRIX + 2]))
    flat = read(arrays, Stack("experts.[].{}.weight", "stacked.{}", 2, flat=True))
    same(flat.get("stacked.up"), np.concatenate([MATRIX.ravel(), MATRIX.ravel() + 1]))
    assert set(flat.keys()) == {"stacked.up", "experts.2.up.weight", "experts.10.up.weight"}


def test_flat() -> None:
    weights = read({"norm.weight": MATRIX}, Rename("norm.{}", "norm.{}", flat=True))
    same(weights.get("norm.weight"), MATRIX.ravel())


def test_missing_weights_are_named_as_in_the_checkpoint() -> None:
    rules = (
        Split("h.{}.qkv.{}", (("layers.{}.q.{}", 6), ("layers.{}.k.{}", 6))),
        Stack("h.{}.experts.[].up", "layers.{}.up", 2),
        Rename("h.{}.norm", "layers.{}.norm"),
    )
    weights = read({"h.0.qkv.weight": MATRIX, "h.0.experts.0.up": MATRIX}, *rules)
    for key, wanted in {
        "layers.3.k.bias": r"missing weight 'h\.3\.qkv\.bias'.*\(for 'layers\.3\.k\.bias'\)",
        "layers.0.up": r"missing weight 'h\.0\.experts\.1\.up'",
        "layers.5.up": r"missing weight 'h\.5\.experts\.0\.up'",
        "layers.0.norm": r"missing weight 'h\.0\.norm'",
        "unknown": "missing weight 'unknown'",
    }.items():
        with pytest.raises(MissingWeightError, match=wanted):
            weights.get(key)


@pytest.mark.parametrize("rows", [11, 13, 24, 0])
def test_sizes_that_do_not_fit(rows: int) -> None:
    rule = Split("qkv.{}", (("q.{}", 1), ("k.{}", 2)), groups=4)
    weights = read({"qkv.weight": np.zeros((rows, 5), np.float32)}, rule)
    message = rf"expected 'qkv.weight' in the given arrays to have 12 outputs, .*\[{rows}, 5\]"
    with pytest.raises(WeightError, match=message):
        weights.get("k.weight")


def test_experts_that_differ() -> None:
    arrays = {"e.0.up": MATRIX, "e.1.up": MATRIX[:3]}
    weights = read(arrays, Stack("e.[].up", "up", 2))
    with pytest.raises(
        WeightError, match=r"expected 'e\.1\.up' .* float32\[12, 5\] like 'e\.0\.up'"
    ):
        weights.get("up")


def test_one_weight_twice() -> None:
    rules = Rename("ln_attn", "norm"), Rename("ln", "norm")
    with pytest.raises(WeightError, match="holds 'ln_attn' and 'ln', which are the same weight"):
        read({"ln_attn": MATRIX, "ln": MATRIX}, *rules)
    with pytest.raises(WeightError, match="holds 'norm' and 'ln', which are the same weight"):
        read({"norm": MATRIX, "ln": MATRIX}, *rules)
