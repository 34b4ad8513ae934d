"""Mistakes in kernels of warp groups, TMA and wgmma that the interpreter must find."""

import ml_dtypes
import numpy as np
import pytest

from rlx.dialects.attention import AttentionOp
from rlx.host import arith, ir
from rlx.schedules.cuda import (
    attention_copies,
    attention_hopper,
    attention_wgmma,
    code,
    hopper,
    matmul_wgmma,
)
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.output import Output
from rlx.schedules.cuda.softmax import Problem, Turn
from rlx.testing.gpu_interpreter import KernelError, TensorMap, run

BF16 = ml_dtypes.bfloat16


@pytest.fixture(autouse=True)
def context():
    with ir.Context() as found, ir.Location.unknown():
        yield found


def numbers(*shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(BF16)


# -- the kernels as they are -----------------------------------------------------------------------


def multiply(transposed=True):
    """Largest error of the matmul; more slices than stages, more rows and columns than a tile."""
    rows, columns, inner, p = 136, 72, 392, matmul_wgmma.Parameters(64, stages=2)
    module = ir.Module.create()
    element = ir.BF16Type.get()
    matmul_wgmma.emit_kernel(Kernels(module.operation), Output(element), transposed, p)
    name = f"rlx_matmul_wgmma_{'nk' if transposed else 'kn'}_bf16_0"
    a = numbers(rows, inner, seed=1)
    b = numbers(*((columns, inner) if transposed else (inner, columns)), seed=2)
    out = np.full((rows, columns), np.nan, BF16)
    box = [p.columns, 64] if transposed else [64, 64]
    maps = TensorMap(a, [p.rows, 64]), TensorMap(b, box)
    run(module, name, (4,), (p.threads,), [*maps, inner, out], shared=p.shared)
    wide = a.astype(np.float32), b.astype(np.float32)
    expected = wide[0] @ (wide[1].T if transposed else wide[1])
    return (np.abs(out.astype(np.float32) - expected) / np.sqrt(inner)).max()


def attend(in_turn=True, lengths=None, turned=False):
    """Largest error of attention, over more tiles than stages."""
    queries, keys, dims = 100, 150, 64
    turn = Turn(64, "bf16") if turned else None
    given = "i32" if lengths is not None else None
    problem = Problem("bf16", 1, 2, dims, dims, causal=True, scale=0.125, lengths=given, turn=turn)
    p = attention_copies.Parameters(32, in_turn=in_turn)
    module = ir.Module.create()
    attention_wgmma.emit_kernel(Kernels(module.operation), problem, p)
    q = numbers(1, queries, 2, dims, seed=1)
    k, v = (numbers(1, keys, 1, dims, seed=seed) for seed in (2, 3))
    extras = []
    if turned:
        extras = [np.ones((queries, 32), BF16), np.zeros((queries, 32), BF16)]
    if lengths is not None:
        v[:, lengths:] = np.nan
        extras.append(np.array([lengths], np.int32))
    out = np.full((1, queries, 2 * dims), np.nan, BF16)
    flags = np.full((2, 8), -1, np.int32)
    maps = TensorMap(q, [1, 64, 2, 64]), TensorMap(k, [1, 32, 1, 64]), TensorMap(v, [1, 32, 1, 64])
    arguments = [*maps, *extras, keys, flags, out]
    name = "rlx_attention_wgmma_bf16_0"
    run(module, name, (2,), (p.threads,), arguments, shared=p.shared(problem))
    assert not flags.any()
    used = keys if lengths is None else lengths
    wide = [
        x.astype(np.float32) for x in (q.reshape(1, queries, -1), k[:, :used, 0], v[:, :used, 0])
    ]
    expected = AttentionOp.reference(
        *wide, num_heads=2, num_kv_heads=1, head_dim=dims, causal=True, scale=0.125
    )
    return np.abs(out.astype(np.float32) - expected).max()


@pytest.mark.parametrize("transposed", [False, True])
def test_matmul_is_right(transposed):
    assert multiply(transposed) < 2e-2


@pytest.mark.parametrize(
    "arguments", [{}, {"in_turn": False}, {"lengths": 141}, {"turned": True}], ids=str
)
def test_attention_is_right(arguments):
    assert attend(**arguments) < 2e-2


# -- mistakes --------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("compute", [multiply, attend])
WRONG = 0.1


def finds(compute, match):
    """The interpreter says what is wrong."""
    with pytest.raises(KernelError, match=match):
        compute()


def shows(compute):
    """Either the interpreter says that something is wrong, or the result does."""
    try:
        error = compute()
    except (KernelError, AssertionError):
        return
    assert not error < WRONG


@BOTH
def test_parities_the_wrong_way_round(monkeypatch, compute):
    original = hopper.parity
    monkeypatch.setattr(
        hopper, "parity", lambda turn, stages, start: original(turn, stages, 1 - start)
    )
    shows(compute)


@BOTH
def test_a_parity_that_does_not_change(monkeypatch, compute):
    monkeypatch.setattr(hopper, "parity", lambda turn, stages, start: code.i1(bool(start)))
    finds(compute, "has not waited for|overwrites|more than 1 threads")


@BOTH
@pytest.mark.parametrize("by", [-1024, 1024])
def test_other_bytes_than_are_expected(monkeypatch, compute, by):
    original = hopper.Barriers.expect
    monkeypatch.setattr(
        hopper.Barriers, "expect", lambda self, number, size: original(self, number, size + by)
    )
    finds(compute, "more bytes land" if by < 0 else "deadlock")


@BOTH
def test_nobody_waits_for_products(monkeypatch, compute):
    monkeypatch.setattr(hopper, "settle", lambda sums, left=0: list(sums))
    shows(compute)


@BOTH
def test_products_are_waited_for_too_late(monkeypatch, compute):
    original = hopper.settle
    monkeypatch.setattr(hopper, "settle", lambda sums, left=0: original(sums, left + 1))
    shows(compute)


def test_a_slice_is_released_while_it_is_multiplied(monkeypatch):
    original = hopper.settle
    monkeypatch.setattr(hopper, "settle", lambda sums, left=0: original(sums, 2 * left))
    finds(multiply, "overwrites what a product under way reads")


def test_a_tile_is_released_while_it_is_multiplied(monkeypatch):
    mix, release = attention_hopper.Attention.mix, attention_hopper.Attention.release

    def early(self, tile, state):
        sums = mix(self, tile, state)
        release(self, tile, True)
        return sums

    def keys_only(self, tile, values):
        if not values:
            release(self, tile, values)

    monkeypatch.setattr(attention_hopper.Attention, "mix", early)
    monkeypatch.setattr(attention_hopper.Attention, "release", keys_only)
    finds(attend, "overwrites what a product under way reads")


@BOTH
@pytest.mark.parametrize("who", ["copying", "computing"])
def test_waits_that_are_missing(monkeypatch, compute, who):
    role = ""
    wait, set_registers = hopper.Barriers.wait, hopper.set_registers

    def begin(count, more):
        nonlocal role
        role = "computing" if more else "copying"
        set_registers(count, more)

    def some(self, number, parity):
        if role != who:
            wait(self, number, parity)

    monkeypatch.setattr(hopper, "set_registers", begin)
    monkeypatch.setattr(hopper.Barriers, "wait", some)
    finds(compute, "overwrites|more than 1 threads|nobody waited for")


@BOTH
def test_places_are_never_free(monkeypatch, compute):
    monkeypatch.setattr(hopper.Barriers, "arrive", lambda self, number, who: None)
    finds(compute, "deadlock")


@BOTH
def test_one_warp_too_many_arrives(monkeypatch, compute):
    original = hopper.Barriers.arrive

    def arrive(self, number, who):
        original(self, number, who)
        original(self, number, who)

    monkeypatch.setattr(hopper.Barriers, "arrive", arrive)
    finds(compute, "overwrites|more than|has not waited for|deadlock")


@BOTH
@pytest.mark.parametrize("what", ["stride", "leading", "start"])
def test_wrong_descriptors(monkeypatch, compute, what):
    original = hopper.Shared.descriptor

    def descriptor(self, start, leading):
        made = original(self, start, leading * 2 if what == "leading" else leading)
        wrong = {"stride": 1 << 36, "leading": 0, "start": 1}[what]  # 256, 0 and 16 bytes
        i64 = ir.IntegerType.get_signless(64)
        return arith.addi(made, arith.constant(i64, wrong))

    monkeypatch.setattr(hopper.Shared, "descriptor", descriptor)
    if what == "leading":
        # It counts only where rows lie along memory, and there are several boxes of columns.
        compute = multiply_wide
    try:
        shows(compute)
    except NotImplementedError as error:
        assert "swizzle" in str(error)  # the interpreter refuses it


def multiply_wide():
    """The matmul, by a weight whose columns lie along memory, in two boxes."""
    rows, columns, inner, p = 128, 128, 64, matmul_wgmma.Parameters(128, stages=2)
    module = ir.Module.create()
    matmul_wgmma.emit_kernel(Kernels(module.operation), Output(ir.BF16Type.get()), False, p)
    a, b = numbers(rows, inner, seed=1), numbers(inner, columns, seed=2)
    out = np.full((rows, columns), np.nan, BF16)
    maps = TensorMap(a, [p.rows, 64]), TensorMap(b, [64, 64])
    run(
        module,
        "rlx_matmul_wgmma_kn_bf16_0",
        (1,),
        (p.threads,),
        [*maps, inner, out],
        shared=p.shared,
    )
    expected = a.astype(np.float32) @ b.astype(np.float32)
    return (np.abs(out.astype(np.float32) - expected) / np.sqrt(inner)).max()


@BOTH
def test_steps_inside_of_rows_are_too_long(monkeypatch, compute):
    original = hopper.further
    monkeypatch.setattr(
        hopper, "further", lambda d, size: original(d, 2 * size if size < 128 else size)
    )
    try:
        shows(compute)
    except NotImplementedError as error:
        assert "swizzle" in str(error)


@pytest.mark.parametrize("arguments", [{"turned": True}, {"lengths": 141}], ids=str)
def test_stores_without_a_fence(monkeypatch, arguments):
    monkeypatch.setattr(hopper, "fence", lambda: None)
    finds(lambda: attend(**arguments), "stored without a fence")


@pytest.mark.parametrize("arguments", [{"lengths": 141}], ids=str)
def test_groups_do_not_wait_for_what_both_store(monkeypatch, arguments):
    monkeypatch.setattr(hopper, "sync_group", lambda number, threads=128: None)
    finds(lambda: attend(**arguments), "another group|race")


def test_a_group_overwrites_what_the_other_one_multiplies(monkeypatch):
    monkeypatch.setattr(hopper, "sync_group", lambda number, threads=128: None)
    finds(multiply, "another group reads|race")


def test_a_turn_that_nobody_gives(monkeypatch):
    monkeypatch.setattr(hopper, "arrive_at", lambda number, threads: None)
    finds(attend, "deadlock")


def test_too_many_registers(monkeypatch):
    monkeypatch.setattr(hopper.Roles, "many", property(lambda self: 248))
    finds(multiply, "warp groups want")
