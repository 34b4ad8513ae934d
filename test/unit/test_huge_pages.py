"""Buffers that are large enough for huge pages."""

import gc
import resource

import numpy as np
import pytest

import rlx

MIB = 1 << 20
TEXT = """func.func @main(%a: tensor<?xi8>) -> tensor<?xi8> {
  %0 = arith.addi %a, %a : tensor<?xi8>
  return %0 : tensor<?xi8>
}"""


@pytest.fixture(scope="module")
def double():
    return rlx.compile(TEXT, cache=False)


@pytest.mark.parametrize("size", [32 * MIB, 32 * MIB + 1, 35 * MIB - 1])
def test_large_results_begin_a_page(double, size):
    x = np.full(size, 3, np.int8)
    x[-1] = 7
    result = double(x)
    assert result.ctypes.data % (2 * MIB) == 0
    assert result[-1] == 14 and (result[:-1] == 6).all()


def test_memory_goes_back(double):
    x = np.ones(40 * MIB, np.int8)
    kept = double(x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        double(x)
    gc.collect()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < 100 * MIB
    assert (kept == 2).all()


def test_more_than_there_can_be_is_refused_by_malloc():
    """A size near 2^64 must not become a small one by rounding: nothing is allocated at all."""
    text = """
    llvm.func @aligned_alloc(i64, i64) -> !llvm.ptr
    func.func @main(%size: i64) -> i64 {
      %align = llvm.mlir.constant(64 : i64) : i64
      %p = llvm.call @aligned_alloc(%align, %size) : (i64, i64) -> !llvm.ptr
      %i = llvm.ptrtoint %p : !llvm.ptr to i64
      return %i : i64
    }"""
    allocate = rlx.compile(text, entry="main", cache=False)
    for size in (-64, -2 * MIB, -MIB, 2**62 + 64, 2**62 - 64):
        assert allocate(size) == 0
