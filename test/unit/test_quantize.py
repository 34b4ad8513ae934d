"""Weights as 8-bit integers: how they are rounded, bound and shared."""

import ml_dtypes
import numpy as np
import pytest

import rlx
from rlx.diagnostics import CompileError
from rlx.runtime import ArgumentError, Program
from rlx.runtime.quantize import quantize
from rlx.targets import TargetError

PRODUCT = """
func.func @main(%x: tensor<?x6xf32> {rlx.name = "x"},
                %w: tensor<4x6xf32> {rlx.param, rlx.name = "w"}) -> tensor<?x4xf32> {
  %0 = "rlx.matmul"(%x, %w) {transpose_weight = true}
    : (tensor<?x6xf32>, tensor<4x6xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}
"""


def weights(*shape: int, dtype: type = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def restored(values: np.ndarray, scales: np.ndarray, axis: int, group: int) -> np.ndarray:
    """The matrix, with output channels as rows."""
    rows = np.moveaxis(values, axis, 0).astype(np.float64)
    each = np.repeat(scales, group, 1) if group else scales[:, None]
    return rows * each


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("group", [0, 1, 4, 12])
def test_rounding(dtype: type, axis: int, group: int) -> None:
    matrix = weights(*((5, 12) if axis == 0 else (12, 5)), dtype=dtype)
    values, scales = quantize([matrix], axis, group)
    assert values.dtype == np.int8 and values.shape == matrix.shape
    assert scales.dtype == (np.float64 if dtype is np.float64 else np.float32)
    assert scales.shape == ((5, 12 // group) if group else (5,))
    assert np.abs(values.astype(int)).max() == 127
    rows = np.moveaxis(matrix, axis, 0).astype(np.float64)
    error = np.abs(restored(values, scales, axis, group) - rows)
    each = np.repeat(scales, group, 1) if group else scales[:, None]
    assert (error <= each * 0.5001).all()
    # The largest of each group is met.
    top = np.abs(rows).reshape(5, -1, group or 12).max(-1)
    np.testing.assert_allclose(scales.reshape(5, -1) * 127, top, rtol=1e-6)


def test_parts_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [weights(7, 8), weights(3, 8, seed=1), weights(0, 8)]
    whole = quantize([np.concatenate(parts)], 0, 4)
    monkeypatch.setattr("rlx.runtime.quantize._CHUNK", 16)
    for found, expected in zip(quantize(parts, 0, 4), whole, strict=True):
        np.testing.assert_array_equal(found, expected)
    turned = quantize([np.ascontiguousarray(part.T) for part in parts], 1, 4)
    np.testing.assert_array_equal(turned[0].T, whole[0])
    np.testing.assert_array_equal(turned[1], whole[1])


def test_zeros_and_tiny_numbers() -> None:
    values, scales = quantize([np.zeros((2, 3), np.float32)], 0)
    assert not values.any() and not scales.any()
    values, scales = quantize([np.full((1, 3), 1e-45, np.float32)], 0)
    assert np.isfinite(values * scales[:, None]).all()
    values, scales = quantize([np.empty((2, 0), np.float32)], 0)
    assert values.shape == (2, 0) and not scales.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(bad: float) -> None:
    matrix = weights(4, 6)
    matrix[2, 3] = bad
    message = r"parameter 'w\.int8': cannot be quantized, holds numbers that are not finite"
    with pytest.raises(ArgumentError, match=message):
        rlx.compile(PRODUCT, quantize="int8").bind({"w": matrix})


@pytest.mark.parametrize("group", [0, 3])
def test_compiled_products(group: int) -> None:
    how = f"int8{{group={group}}}" if group else "int8"
    product = rlx.compile(PRODUCT, quantize=how)
    assert [spec.name for spec in product.parameters] == ["w.int8", "w.int8-scales"]
    matrix, x = weights(4, 6), weights(5, 6, seed=1)
    exact = x.astype(np.float64) @ restored(*quantize([matrix], 0, group), 0, group).T
    np.testing.assert_allclose(product.bind({"w": matrix})(x), exact, rtol=1e-5, atol=1e-6)
    # What is made of the weight can be given as well.
    values, scales = quantize([matrix], 0, group)
    product.bind({"w.int8": values, "w.int8-scales": scales})
    np.testing.assert_allclose(product(x), exact, rtol=1e-5, atol=1e-6)
    manifest = product.program.manifest()
    assert Program.from_manifest(manifest, b"").arguments == product.program.arguments


def test_not_the_code_of_the_float_product() -> None:
    floats, integers = rlx.compile(PRODUCT), rlx.compile(PRODUCT, quantize="int8")
    assert [spec.name for spec in floats.parameters] == ["w"]
    assert len(integers.parameters) == 2
    lowered = str(rlx.lower(PRODUCT, "fused", quantize="int8"))
    assert "rlx.dequant_matmul" in lowered and "rlx.matmul" not in lowered


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "missing parameters: w"),
        ({"w": weights(4, 5)}, r"argument 'w\.int8': expected tensor<4x6xi8>"),
        ({"w": weights(5, 6)}, r"argument 'w\.int8': expected tensor<4x6xi8>"),
        ({"w": weights(4, 7, dtype=np.float64)}, r"argument 'w\.int8': expected tensor<4x6xi8>"),
        ({"w": weights(4)}, r"parameter 'w\.int8': expected 'w' to be a matrix of floats"),
        ({"w": np.ones((4, 6), np.int32)}, r"expected 'w' to be a matrix of floats"),
    ],
)
def test_bad_parameters(given: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        rlx.compile(PRODUCT, quantize="int8").bind(given)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("int4", "expected quantize 'int8' or 'int8{group=64}', got 'int4'"),
        ("int8{", "got 'int8{'"),
        (8, "got 8"),
        ("int8{groups=2}", "'int8' has no option 'groups'; did you mean 'group'?"),
        ("int8{group=-1}", "expected a group of at least 0, got -1"),
    ],
)
def test_unknown_kinds(how: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        rlx.compile(PRODUCT, quantize=how)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            'rlx.quantize = "int3"',
            "expected rlx.quantize 'int8' or 'int8-scales', but found 'int3'",
        ),
        ("rlx.quantize = 8", "expected rlx.quantize to be a StringAttr"),
        ('rlx.quantize = "int8", rlx.quantize_group = "a"', "expected rlx.quantize_group to be a"),
        ('rlx.quantize = "int8", rlx.quantize_group = 0 : i64', "of at least 1, but found 0"),
    ],
)
def test_wrong_declarations(attributes: str, message: str) -> None:
    text = f"""
    func.func @main(%w: tensor<4x6xi8> {{rlx.param, rlx.name = "w", rlx.parts = ["v"],
        rlx.parts_axis = 0 : i64, {attributes}}}) -> tensor<4x6xi8> {{
      return %w : tensor<4x6xi8>
    }}
    """
    with pytest.raises(CompileError) as caught:
        rlx.compile(text)
    assert message in str(caught.value)
