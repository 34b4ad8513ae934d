"""The interpreter of the gpu dialect: what kernels compute, and the mistakes that it must find."""

import re

import ml_dtypes
import numpy as np
import pytest

from rlx.dialects.attention import AttentionOp
from rlx.host import ir
from rlx.schedules.cuda import attention, code, matmul, tiles
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.output import Output
from rlx.testing.gpu_interpreter import KernelError, run

BF16 = ml_dtypes.bfloat16
WS = "#gpu.address_space<workgroup>"


@pytest.fixture(autouse=True)
def context():
    with ir.Context() as found, ir.Location.unknown():
        yield found


def kernel(body, arguments="%x: memref<?xf32>"):
    return ir.Module.parse(
        f"""module {{ gpu.module @kernels {{
          memref.global "private" @buffer : memref<64xf32, {WS}>
          gpu.func @k({arguments}) kernel {{
            %t = gpu.thread_id x
            %b = gpu.block_id x
            %c0 = arith.constant 0 : index
            %c1 = arith.constant 1 : index
            %c32 = arith.constant 32 : index
            %s = memref.get_global @buffer : memref<64xf32, {WS}>
            {body}
            gpu.return
          }} }} }}"""
    )


def launch(body, x=None, grid=1, block=64):
    x = np.arange(64, dtype=np.float32) if x is None else x
    run(kernel(body), "k", (grid,), (block,), [x])
    return x


# -- small kernels ---------------------------------------------------------------------------------

EXCHANGE = f"""
  %v = memref.load %x[%t] : memref<?xf32>
  memref.store %v, %s[%t] : memref<64xf32, {WS}>
  gpu.barrier
  %c63 = arith.constant 63 : index
  %other = arith.subi %c63, %t : index
  %w = memref.load %s[%other] : memref<64xf32, {WS}>
  memref.store %w, %x[%t] : memref<?xf32>
"""


def test_threads_exchange_values():
    assert (launch(EXCHANGE) == np.arange(64)[::-1]).all()


def test_a_missing_barrier_is_a_race():
    with pytest.raises(KernelError, match="shared memory: race"):
        launch(EXCHANGE.replace("gpu.barrier", ""))


def test_write_after_read():
    late = f"""{EXCHANGE}
      memref.store %w, %s[%t] : memref<64xf32, {WS}>"""
    with pytest.raises(KernelError, match="write after a read"):
        launch(late)


def test_two_threads_write_one_place():
    with pytest.raises(KernelError, match="two threads write"):
        launch("%v = arith.constant 1.0 : f32\n memref.store %v, %x[%c0] : memref<?xf32>")


def test_two_blocks_write_one_place():
    body = "%v = arith.constant 1.0 : f32\n memref.store %v, %x[%t] : memref<?xf32>"
    launch(body, grid=1)
    with pytest.raises(KernelError, match="another block"):
        launch(body, grid=2)


def test_a_block_reads_what_another_writes():
    body = """
      %first = arith.cmpi eq, %b, %c0 : index
      scf.if %first {
        %v = arith.constant 1.0 : f32
        memref.store %v, %x[%t] : memref<?xf32>
      } else {
        %v = memref.load %x[%t] : memref<?xf32>
        %i = arith.addi %t, %c32 : index
        memref.store %v, %x[%i] : memref<?xf32>
      }"""
    with pytest.raises(KernelError, match="race"):
        launch(body, grid=2, block=32)


@pytest.mark.parametrize("index", ["%t", "%b"])
def test_out_of_bounds(index):
    body = f"%i = arith.addi {index}, %c1 : index\n%v = memref.load %x[%i] : memref<?xf32>"
    with pytest.raises(KernelError, match="outside of axis 0 of size 64"):
        launch(body, grid=64)


def test_inactive_threads_access_nothing():
    body = """
      %inside = arith.cmpi slt, %t, %c32 : index
      scf.if %inside {
        %v = memref.load %x[%t] : memref<?xf32>
        %d = arith.addf %v, %v : f32
        memref.store %d, %x[%t] : memref<?xf32>
      }"""
    assert (launch(body, np.ones(32, np.float32)) == 2).all()


def test_a_barrier_that_not_all_reach():
    body = "%in = arith.cmpi slt, %t, %c32 : index\n scf.if %in { gpu.barrier }"
    with pytest.raises(KernelError, match="barrier that some threads do not reach"):
        launch(body)


def test_misaligned_vector():
    body = """%v = vector.load %x[%c1] {alignment = 16 : i64} : memref<?xf32>, vector<4xf32>"""
    with pytest.raises(KernelError, match="not aligned to 16"):
        launch(body)


@pytest.mark.parametrize("late", [False, True])
def test_a_copy_lands_when_it_is_waited_for(late):
    wait = "nvvm.cp.async.wait.group 0"
    body = f"""
      %c4 = arith.constant 4 : index
      %i = arith.muli %t, %c4 : index
      %token = nvgpu.device_async_copy %x[%i], %s[%i], 4 {{bypassL1}}
        : memref<?xf32> to memref<64xf32, {WS}>
      nvvm.cp.async.commit.group
      {"" if late else wait}
      %v = memref.load %s[%i] : memref<64xf32, {WS}>
      memref.store %v, %x[%i] : memref<?xf32>"""
    if late:
        with pytest.raises(KernelError, match="nobody waited for"):
            launch(body, block=16)
    else:
        launch(body, block=16)


def test_a_copy_of_others_needs_a_barrier():
    body = f"""
      %c4 = arith.constant 4 : index
      %i = arith.muli %t, %c4 : index
      %token = nvgpu.device_async_copy %x[%i], %s[%i], 4 {{bypassL1}}
        : memref<?xf32> to memref<64xf32, {WS}>
      nvvm.cp.async.commit.group
      nvvm.cp.async.wait.group 0
      %v = memref.load %s[%t] : memref<64xf32, {WS}>"""
    with pytest.raises(KernelError, match="read after a write"):
        launch(body, block=16)


def test_loops_whose_length_differs():
    body = """
      %zero = arith.constant 0.0 : f32
      %sum = scf.for %i = %c0 to %t step %c1 iter_args(%a = %zero) -> f32 {
        %one = arith.constant 1.0 : f32
        %n = arith.addf %a, %one : f32
        scf.yield %n : f32
      }
      memref.store %sum, %x[%t] : memref<?xf32>"""
    assert (launch(body) == np.arange(64)).all()


def test_branches_between_blocks():
    body = """
      cf.br ^head(%c0 : index)
    ^head(%i: index):
      %more = arith.cmpi slt, %i, %t : index
      cf.cond_br %more, ^body, ^end
    ^body:
      %n = arith.addi %i, %c1 : index
      cf.br ^head(%n : index)
    ^end:
      %j = arith.index_cast %i : index to i32
      %v = arith.sitofp %j : i32 to f32
      memref.store %v, %x[%t] : memref<?xf32>"""
    assert (launch(body) == np.arange(64)).all()


def test_bank_conflicts_are_counted():
    def conflicts(stride):
        body = f"""
          %n = arith.constant {stride} : index
          %i = arith.muli %t, %n : index
          %v = memref.load %s[%i] : memref<64xf32, {WS}>"""
        x = np.zeros(64, np.float32)
        return run(kernel(body), "k", (1,), (64 // stride,), [x]).conflicts("shared.load")

    assert conflicts(1) == 1.0
    assert conflicts(2) == 2.0


def test_wrong_arguments():
    with pytest.raises(ValueError, match="argument 0: expects memref"):
        run(kernel(""), "k", (1,), (32,), [np.zeros(3)])
    with pytest.raises(ValueError, match="expects 1 arguments, got 0"):
        run(kernel(""), "k", (1,), (32,), [])
    with pytest.raises(ValueError, match=r"one gpu\.func named"):
        run(kernel(""), "other", (1,), (32,), [])


# -- planted mistakes in real kernels --------------------------------------------------------------


def attention_text(**attrs):
    module = ir.Module.create()
    problem = attention.Problem("bf16", 1, 2, 64, 64, causal=True, scale=0.125, **attrs)
    p = attention.Parameters(2, 16, 32)
    attention.emit_kernel(Kernels(module.operation), problem, p)
    return str(module), p, problem


def attend(change=lambda text: text, keys=70):
    """Largest error of the attention kernel, with some of its text changed."""
    text, p, _ = attention_text()
    changed = change(text)
    rng = np.random.default_rng(0)
    shapes = (1, 70, 128), (1, keys, 64), (1, keys, 64)
    q, k, v = (rng.standard_normal(shape).astype(BF16) for shape in shapes)
    out = np.full(q.shape, np.nan, BF16)
    blocks = -(-140 // p.block_rows)
    report = run(
        ir.Module.parse(changed),
        "rlx_attention_bf16_0",
        (blocks,),
        (p.threads,),
        [q, k, v, out],
        shared=p.shared(64, 64),
    )
    if not keys:
        return np.abs(out.astype(np.float32)).max(), report
    wide = (x.astype(np.float32) for x in (q, k, v))
    expected = AttentionOp.reference(
        *wide, num_heads=2, num_kv_heads=1, head_dim=64, causal=True, scale=0.125
    )
    return np.abs(out.astype(np.float32) - expected).max(), report


def replace(old, new, which=None):
    """Replaces all occurrences, or only one."""

    def change(text):
        assert old in text
        if which is None:
            return text.replace(old, new)
        parts = text.split(old)
        return old.join(parts[: which + 1]) + new + old.join(parts[which + 1 :])

    return change


def test_attention_is_right_and_without_conflicts():
    error, report = attend()
    assert error < 2e-2
    for what in ("ldmatrix", "cp.async", "shared.store"):
        assert report.conflicts(what) == 1.0


@pytest.mark.parametrize(("which", "keys"), [(0, 70), (1, 70), (3, 0), (4, 70)])
def test_barriers_of_attention_are_needed(which, keys):
    assert attend(keys=keys)[0] < 2e-2
    with pytest.raises(KernelError, match=r"race|nobody waited"):
        attend(replace("gpu.barrier", "", which), keys)


@pytest.mark.parametrize("which", [0, 1])
def test_late_waits(which):
    with pytest.raises(KernelError, match="nobody waited for"):
        attend(replace("nvvm.cp.async.wait.group 0", "nvvm.cp.async.wait.group 1", which))


def test_wrong_transpose():
    assert attend(replace("transpose = true", "transpose = false"))[0] > 0.5


def test_causal_mask_off_by_one():
    error, _ = attend(
        lambda text: re.sub(
            r"arith.cmpi slt, (\S+), (\S+) : i32", r"arith.cmpi sle, \1, \2 : i32", text
        )
    )
    assert not error < 0.1


def test_no_swizzle_shows_as_bank_conflicts(monkeypatch):
    def plain(self, row, chunk, more=0):
        return code.multiply(code.add(chunk, more), code.CHUNK)

    monkeypatch.setattr(tiles.Tile, "column", plain)
    error, report = attend()
    assert error < 2e-2
    assert report.conflicts("ldmatrix") > 2


@pytest.mark.parametrize("transposed", [False, True])
def test_matmul_reads_nothing_outside(transposed):
    module = ir.Module.create()
    p = matmul.Parameters(32, 32, 32, 16, 16, stages=3)
    element = ir.BF16Type.get()
    matmul.emit_kernel(Kernels(module.operation), Output(element), transposed, p)
    name = f"rlx_matmul_{'nk' if transposed else 'kn'}_bf16_0"
    a = np.ones((33, 40), BF16)
    b = np.ones((34, 40) if transposed else (40, 34), BF16)

    def multiply(text, c):
        shared = p.shared(transposed)
        run(ir.Module.parse(text), name, (4,), (p.threads,), [a, b, c], shared=shared)
        return c

    text = str(module)
    assert (multiply(text, np.zeros((33, 34), BF16)) == 40).all()
    # One more row than there is.
    first = re.search(r"(%\S+) = memref.dim %arg0, %(\S+) : .*\n", text)
    assert first
    wrong = text.replace(
        first.group(0),
        f"%was = memref.dim %arg0, %{first.group(2)} : memref<?x?xbf16, strided<[?, 1], "
        f"offset: ?>>\n%unit = arith.constant 1 : index\n"
        f"{first.group(1)} = arith.addi %was, %unit : index\n",
    )
    with pytest.raises(KernelError, match="outside of axis 0 of size 33"):
        multiply(wrong, np.zeros((33, 34), BF16))
