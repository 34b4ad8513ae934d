"""Kernels in several threads."""

import os
import subprocess
import sys
import threading
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from harness import random

import rlx
from rlx.compiler import lower
from rlx.diagnostics import CompileError
from rlx.dialects import emit
from rlx.dialects.rms_norm import RmsNormOp
from rlx.host import arith, ir
from rlx.runtime import openmp
from rlx.runtime.elf import undefined_symbols
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import kernels
from rlx.schedules.cpu.passes import STRATEGIES
from rlx.targets import TargetError

MODULE = """
    func.func @main(%x: tensor<?x?xf32>, %w: tensor<?xf32>) -> tensor<?x?xf32> {
      %0 = "rlx.rms_norm"(%x, %w) {epsilon = 1.0e-5}
        : (tensor<?x?xf32>, tensor<?xf32>) -> tensor<?x?xf32>
      return %0 : tensor<?x?xf32>
    }
"""


def own_norm(op):
    result = RmsNormOp.create(op.input, op.weight, **op.attrs)
    return result.owner.opview, result


def part_plus_element(op, kernels, isa):
    """A kernel that adds the number of the part, times 100, to every element."""
    element = op.input.type.element_type
    result = code.alloc(emit.sizes(op.input), element)

    def body(part, low, high, x, out):
        i32 = ir.IntegerType.get_signless(32)
        number = arith.mulf(arith.sitofp(element, arith.index_cast(i32, part)), code.scalar(100.0))

        def one(row, column):
            value = arith.addf(code.load_scalar(x, [row, column]), number)
            code.store_scalar(value, out, [row, column])

        code.loop(low, high, 1, lambda i: code.loop(0, code.dim(x, 1), 1, lambda j: one(i, j)))

    types = [code.matrix(element), code.matrix(element)]
    run = kernels.parallel("part_plus_element", types, body)
    rows = emit.dim(op.input, 0)
    # A row is said to take a microsecond.
    run(kernels.parts(rows, code.multiply(rows, 1000)), rows, code.to_buffer(op.input), result)
    return code.to_tensor(result)


@pytest.fixture
def compiled(monkeypatch):
    """Compiles a function whose only op has a kernel that tells parts."""
    strategy = SimpleNamespace(refusal=lambda op: None, prepare=own_norm, build=part_plus_element)
    monkeypatch.setitem(sys.modules, "test_strategy", strategy)
    monkeypatch.setitem(STRATEGIES, RmsNormOp, "test_strategy")
    made = {}

    def get(threads):
        if threads not in made:
            made[threads] = rlx.compile(MODULE, f"cpu{{threads={threads}}}", cache=False)
        return made[threads]

    return get


def parts_of(executable, rows, columns=3):
    """The number of the part that every row belongs to."""
    x = random([rows, columns])
    shift = executable(x, np.ones(columns, np.float32)) - x
    parts = np.round(shift / 100).astype(int)
    np.testing.assert_allclose(shift, 100 * parts, atol=1e-4)
    assert (parts == parts[:, :1]).all()
    return parts[:, 0].tolist()


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_parts_are_of_nearly_equal_size(compiled, threads):
    for rows in (100, 101, 250):
        parts = parts_of(compiled(threads), rows)
        assert parts == sorted(parts)
        sizes = [parts.count(part) for part in range(threads)]
        assert sum(sizes) == rows and max(sizes) - min(sizes) <= 1


def test_little_work_is_not_split(compiled):
    assert parts_of(compiled(3), 9) == [0] * 9
    assert parts_of(compiled(3), 19) == [0] * 19
    assert parts_of(compiled(3), 20) == [0] * 10 + [1] * 10
    assert parts_of(compiled(3), 0) == []


def test_no_more_parts_than_units(compiled, monkeypatch):
    monkeypatch.setattr(kernels, "LEAST_NANOSECONDS", 100)
    assert parts_of(compiled(5), 2) == [0, 1]
    assert parts_of(compiled(5), 1) == [0]


def test_number_of_threads_is_found_out(compiled):
    parts = parts_of(compiled(0), 1000)
    library = openmp._load()
    assert max(parts) == min(library.omp_get_max_threads(), 100) - 1


def test_one_thread_leaves_no_trace_of_openmp(compiled):
    def foreign(threads):
        symbols = undefined_symbols(compiled(threads).program.object_code)
        return {name for name in symbols if openmp.is_openmp(name)}

    assert foreign(1) == set()
    assert "__kmpc_fork_call" in foreign(2) and "omp_get_max_threads" not in foreign(2)
    assert {"__kmpc_fork_call", "omp_get_max_threads"} <= foreign(0)
    assert parts_of(compiled(1), 1000) == [0] * 1000


def test_calls_from_several_threads(compiled):
    executable = compiled(2)
    found, start = [], threading.Barrier(4)

    def call():
        start.wait()
        found.extend(parts_of(executable, rows) for rows in [200, 100, 300] * 20)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 240
    for parts in found:
        half = len(parts) // 2
        assert parts == [0] * half + [1] * half


def test_many_short_lived_threads(compiled):
    executable, found = compiled(2), []
    for _ in range(100):
        caller = threading.Thread(target=lambda: found.append(parts_of(executable, 100)))
        caller.start()
        caller.join()
    assert found == [[0] * 50 + [1] * 50] * 100


def test_forked_children(compiled):
    """A child has none of the threads that its parent had."""
    executable = compiled(2)
    expected = parts_of(executable, 100)
    children = []
    for _ in range(3):
        if (child := os.fork()) == 0:
            status = 1
            try:
                right = [parts_of(executable, 100) == expected for _ in range(5)]
                status = 0 if all(right) else 2
            finally:
                os._exit(status)
        children.append(child)
        assert parts_of(executable, 100) == expected
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


@pytest.fixture
def no_openmp(monkeypatch):
    monkeypatch.setattr(openmp, "_candidates", lambda: iter(["/nowhere/libiomp5.so"]))
    openmp._load.cache_clear()
    yield
    openmp._load.cache_clear()


def test_without_openmp_there_is_one_thread(compiled, no_openmp):
    with pytest.warns(RuntimeWarning, match="on one thread: .*install intel-openmp"):
        executable = compiled(0)
    assert parts_of(executable, 1000) == [0] * 1000


def test_threads_that_were_asked_for_need_openmp(compiled, no_openmp):
    with pytest.raises(CompileError, match="needs threads, but OpenMP is not there"):
        compiled(2)
    assert parts_of(compiled(1), 1000) == [0] * 1000


SETTINGS = """
from rlx.runtime import openmp
library = openmp._load()
print(library.kmp_get_blocktime(), library.omp_get_max_threads())
"""


@pytest.mark.parametrize(
    ("env", "blocktime", "threads"),
    [
        ({}, 1, None),
        ({"KMP_BLOCKTIME": "7"}, 7, None),
        ({"OMP_NUM_THREADS": "3"}, 1, 3),
        ({"OMP_WAIT_POLICY": "active"}, 2**31 - 1, None),
    ],
)
def test_settings_of_the_user_win(env, blocktime, threads):
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("KMP_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS], capture_output=True, text=True, env={**plain, **env}
    )
    assert done.returncode == 0, done.stderr
    expected = len(os.sched_getaffinity(0)) if threads is None else threads
    assert done.stdout.split() == [str(blocktime), str(expected)]


def test_keyword_wins_over_the_target(compiled):
    executable = rlx.compile(MODULE, "cpu{threads=1}", threads=4, cache=False)
    assert max(parts_of(executable, 1000)) == 3
    for threads, count in ((1, 0), (4, 1)):
        text = str(lower(MODULE, "bufferized", threads=threads))
        assert text.count("scf.parallel") == count


def test_keyword_is_checked():
    for threads in (-1, "2", True, 1.5):
        with pytest.raises(TargetError, match="threads: expected"):
            rlx.compile(MODULE, threads=threads)


@pytest.mark.parametrize("text", ["-1", "two"])
def test_number_of_threads_must_make_sense(text):
    with pytest.raises(TargetError, match="threads"):
        rlx.compile(MODULE, f"cpu{{threads={text}}}")


LAYERS = """
    func.func @main(%x: tensor<?x?x96xf32>, %w: tensor<96xf32>, %ids: tensor<?x?xi64>,
                    %table: tensor<50x96xf32>, %m: tensor<?x?x96xf32>)
        -> (tensor<?x?x96xf32>, tensor<?x?x48xf32>, tensor<?x?x192xf32>, tensor<?x?x96xf32>) {
      %0 = "rlx.layer_norm"(%x, %w, %w) {epsilon = 1.0e-5}
        : (tensor<?x?x96xf32>, tensor<96xf32>, tensor<96xf32>) -> tensor<?x?x96xf32>
      %1 = "rlx.embedding"(%table, %ids)
        : (tensor<50x96xf32>, tensor<?x?xi64>) -> tensor<?x?x96xf32>
      %2 = "rlx.glu"(%0, %1) {activation = "gelu"}
        : (tensor<?x?x96xf32>, tensor<?x?x96xf32>) -> tensor<?x?x96xf32>
      %3 = arith.addf %2, %m : tensor<?x?x96xf32>
      %4 = "rlx.narrow"(%3) {axis = 2 : i64, start = 40 : i64, length = 48 : i64}
        : (tensor<?x?x96xf32>) -> tensor<?x?x48xf32>
      %5 = "rlx.concat"(%0, %3) {axis = 2 : i64}
        : (tensor<?x?x96xf32>, tensor<?x?x96xf32>) -> tensor<?x?x192xf32>
      %6 = "rlx.attention"(%3, %0, %1)
        {num_heads = 12 : i64, num_kv_heads = 12 : i64, head_dim = 8 : i64,
         operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
        : (tensor<?x?x96xf32>, tensor<?x?x96xf32>, tensor<?x?x96xf32>) -> tensor<?x?x96xf32>
      return %2, %4, %5, %6
        : tensor<?x?x96xf32>, tensor<?x?x48xf32>, tensor<?x?x192xf32>, tensor<?x?x96xf32>
    }
"""


@pytest.mark.parametrize("shape", [(1, 200), (3, 70), (250, 1), (7, 31), (2, 0), (0, 3), (1, 1)])
def test_loops_give_the_same_in_any_number_of_threads(shape):
    """Heads of 8 keep attention on the plain path, too."""
    rng = np.random.default_rng(5)
    x, m = random((*shape, 96)), random((*shape, 96), seed=1)
    inputs = [x, random([96], seed=2), rng.integers(0, 50, shape), random((50, 96), seed=3), m]
    expected = _layers(1)(*inputs)
    for one, other in zip(expected, _layers(3)(*inputs), strict=True):
        np.testing.assert_array_equal(one, other)


@cache
def _layers(threads):
    return rlx.compile(LAYERS, threads=threads, cache=False)


def test_layers_called_from_several_threads():
    rng = np.random.default_rng(5)
    cases = []
    for rows in (40, 90, 150):
        x, m = random((2, rows, 96), seed=rows), random((2, rows, 96), seed=rows + 1)
        ids = rng.integers(0, 50, (2, rows))
        inputs = [x, random([96], seed=2), ids, random((50, 96), seed=3), m]
        cases.append((inputs, _layers(1)(*inputs)))
    start, wrong = threading.Barrier(3), []

    def call(first):
        start.wait()
        for n in range(10):
            inputs, expected = cases[(first + n) % 3]
            for one, other in zip(expected, _layers(3)(*inputs), strict=True):
                if not np.array_equal(one, other):
                    wrong.append((first, n))

    callers = [threading.Thread(target=call, args=(first,)) for first in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong
