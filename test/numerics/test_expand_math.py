"""exp, tanh and erf of f32: the stated errors, over bit patterns of the whole range."""

import math

import numpy as np
import pytest

import rlx
from rlx.runtime import Executable

BOUNDS = {"exp": 1.1, "tanh": 1.5, "erf": 2.5}  # ulp, as the pass states them
EXACT = {
    "exp": ([np.inf, -np.inf, 0.0, -0.0, 89.0, -104.0, 1e-40], [np.inf, 0, 1, 1, np.inf, 0, 1]),
    "tanh": ([np.inf, -np.inf, 0.0, -0.0, 20.0, 1e-40], [1, -1, 0.0, -0.0, 1, 1e-40]),
    "erf": ([np.inf, -np.inf, 0.0, -0.0, 5.0], [1, -1, 0.0, -0.0, 1]),
}


def compiled(name: str) -> Executable:
    return rlx.compile(f"""
      func.func @f(%x: tensor<?xf32>) -> tensor<?xf32> {{
        %0 = math.{name} %x : tensor<?xf32>
        return %0 : tensor<?xf32>
      }}
    """)


def definition(name: str, x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    return np.vectorize(math.erf)(wide) if name == "erf" else getattr(np, name)(wide)


def check(name: str, x: np.ndarray) -> None:
    x = x[np.isfinite(x)]
    with np.errstate(over="ignore", under="ignore"):
        wanted = definition(name, x)
        nearest = wanted.astype(np.float32)
    found = compiled(name)(x)
    finite = np.isfinite(nearest)
    ulp = np.spacing(np.abs(nearest[finite])).astype(np.float64)
    error = np.abs(found[finite].astype(np.float64) - wanted[finite]) / ulp
    assert error.max() <= BOUNDS[name]
    np.testing.assert_array_equal(found[~finite], nearest[~finite])


@pytest.mark.parametrize("name", BOUNDS)
def test_error_in_ulp(name: str) -> None:
    every = np.arange(0, 2**32, 65521, dtype=np.int64).astype(np.uint32).view(np.float32)
    check(name, np.concatenate([every, np.linspace(-105, 90, 50_000, dtype=np.float32)]))


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDS)
def test_error_in_ulp_densely(name: str) -> None:
    check(name, np.arange(0, 2**32, 1021, dtype=np.int64).astype(np.uint32).view(np.float32))


@pytest.mark.parametrize("name", EXACT)
def test_special_values(name: str) -> None:
    given, wanted = (np.array(values, np.float32) for values in EXACT[name])
    found = compiled(name)(given)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))
    assert np.isnan(compiled(name)(np.array([np.nan], np.float32))).all()
