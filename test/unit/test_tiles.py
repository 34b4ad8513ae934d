"""Arrays cut into tiles, and arguments that ask for it."""

from itertools import product
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import rlx
from rlx.diagnostics import CompileError
from rlx.runtime import Program, Spec
from rlx.runtime.tiles import Tiling

PANELS = Tiling((0,), (16,), (0, 1))
FROM_COLUMNS = Tiling((1,), (16,), (1, 0))
PAIRS = Tiling((0, 1), (16, 2), (0, 1))


def reference(tiling, array):
    """Element by element."""
    tiles = dict(zip(tiling.inner_dims_pos, tiling.inner_tiles, strict=True))
    result = np.zeros(tiling.shape(array.shape), array.dtype)
    for at in product(*map(range, array.shape)):
        outer = [at[axis] // tiles.get(axis, 1) for axis in tiling.outer_dims_perm]
        inner = [at[axis] % tiles[axis] for axis in tiling.inner_dims_pos]
        result[(*outer, *inner)] = array[at]
    return result


@pytest.mark.parametrize("tiling", [PANELS, FROM_COLUMNS, PAIRS], ids=["nk", "kn", "pairs"])
@pytest.mark.parametrize("shape", [(32, 16), (33, 7), (1, 1), (15, 50), (0, 16), (16, 0)])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.int8])
def test_apply(tiling, shape, dtype):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    result = tiling.apply(array)
    assert result.dtype == array.dtype
    assert np.array_equal(result, reference(tiling, array))


def test_more_than_a_chunk(monkeypatch):
    monkeypatch.setattr("rlx.runtime.tiles._CHUNK", 100)
    array = np.arange(75 * 33, dtype=np.float32).reshape(75, 33)
    for tiling in (PANELS, FROM_COLUMNS, PAIRS):
        assert np.array_equal(tiling.apply(array), reference(tiling, array))


def test_large_results_may_have_huge_pages():
    """Linux gives them to what is private and asks for them; both are said of each range."""
    result = PANELS.apply(np.ones((2048, 1024), np.float32))
    address = result.__array_interface__["data"][0] + result.nbytes // 2
    inside = False
    found = []
    for line in Path("/proc/self/smaps").read_text().splitlines():
        word, *others = line.split()
        if not word.endswith(":"):
            low, high = (int(end, 16) for end in word.split("-"))
            inside = low <= address < high
            if inside:
                assert others[0] == "rw-p"
        elif inside:
            found += others if word == "VmFlags:" else []
    assert "hg" in found


def test_manifest_keeps_the_tiling():
    spec = Spec("w", "f32", (100, 32), param=True, tiling=PAIRS)
    program = Program(b"", "main", "main", (spec,), ())
    assert Program.from_manifest(program.manifest(), b"") == program
    assert spec.rank == 4


def source(tiling, type_="tensor<7x32x16xf32>"):
    return f"""
      func.func @main(%w: {type_} {{rlx.param, rlx.name = "w", rlx.tiling = {tiling}}}) -> f32 {{
        %0 = arith.constant 6 : index
        %1 = arith.constant 31 : index
        %2 = arith.constant 3 : index
        %x = tensor.extract %w[%0, %1, %2] : tensor<7x32x16xf32>
        return %x : f32
      }}"""


GOOD = (
    "{shape = array<i64: 100, 32>, inner_dims_pos = array<i64: 0>, "
    "inner_tiles = array<i64: 16>, outer_dims_perm = array<i64: 0, 1>}"
)


def test_argument_is_laid_out_when_bound_and_when_passed():
    compiled = rlx.compile(source(GOOD), cache=False)
    (spec,) = compiled.inputs
    assert (spec.shape, spec.type) == ((100, 32), "tensor<100x32xf32>")
    w = np.arange(3200, dtype=np.float32).reshape(100, 32)
    assert compiled(w) == w[99, 31]
    compiled.bind({"w": w})
    assert compiled() == w[99, 31]
    with pytest.raises(rlx.runtime.ArgumentError, match="expected tensor<100x32xf32>"):
        compiled.bind({"w": w.T})


def test_executables_share_what_is_laid_out():
    first, second = (rlx.compile(source(GOOD), cache=False) for _ in range(2))
    w = np.zeros((100, 32), np.float32)
    w.flags.writeable = False
    bound = [one.bind({"w": w})._bound[0] for one in (first, second)]
    assert bound[0] is bound[1]


@pytest.mark.parametrize(
    "tiling, message",
    [
        ("1 : i64", "expected rlx.tiling to be a DictAttr"),
        (GOOD.replace("inner_tiles", "tiles"), "expected rlx.tiling with integers 'inner_tiles'"),
        (GOOD.replace("100, 32", "120, 32"), "does not make tensor<7x32x16xf32>"),
        (GOOD.replace("array<i64: 0, 1>}", "array<i64: 0, 2>}"), "does not make"),
        (GOOD.replace("array<i64: 16>", "array<i64: 0>"), "does not make"),
        (GOOD.replace("array<i64: 0>,", "array<i64: 5>,"), "does not make"),
    ],
)
def test_bad_tilings(tiling, message):
    with pytest.raises(CompileError, match=message):
        rlx.compile(source(tiling), cache=False)
