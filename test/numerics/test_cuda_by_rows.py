"""Kernels for numbers of rows that are known at run time only: the host launches one of them."""

import numpy as np
import pytest
from cuda_programs import program
from harness import assert_close, module_text, random, reference

from rlx.dialects.attention import AttentionOp
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.dialects.matmul import MatmulOp
from rlx.host import ir
from rlx.schedules.cuda.by_rows import conditions, pick


def kernels_by_rows(op, make, sizes, arch, dynamic, **attrs):
    """Compiles once, checks the result for each number of rows; kernels that were launched."""
    text, _ = module_text(op, make(sizes[0]), dynamic, **attrs)
    executable, gpu = program(text, arch)
    launched = []
    for size in sizes:
        operands = make(size)
        gpu.launched.clear()
        actual = executable(*(operand for operand in operands if operand is not None))
        assert_close(actual, reference(op, *operands, **attrs), 2e-2)
        launched.append(tuple(gpu.launched))
    return launched


@pytest.mark.parametrize(("arch", "lengths"), [("sm_80", False), ("sm_90a", True)])
def test_attention(arch, lengths):
    def make(queries):
        q, k, v = (
            random((2, n, heads * 64), "bf16", seed)
            for seed, (n, heads) in enumerate([(queries, 2), (70, 1), (70, 1)])
        )
        more = [None, np.array([70, 40], np.int32)] if lengths else []
        return [q, k, v, *more]

    sizes = {(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)}
    attrs = {"num_heads": 2, "num_kv_heads": 1, "head_dim": 64, "causal": True}
    # Two rows for each query.
    found = kernels_by_rows(AttentionOp, make, [1, 8, 9, 32, 33], arch, sizes, **attrs)
    found = [tuple(name for name in names if "check" not in name) for names in found]
    one, some, many = found[0], found[2], found[4]
    assert found == [one, one, some, some, many] and len({one, some, many}) == 3
    assert one[1] == f"{one[0]}_merge" and some[1] == f"{some[0]}_merge"
    if arch == "sm_90a":
        assert many[0].startswith("rlx_attention_wgmma") and len(many) == 2
    else:
        assert len(many) == 1


@pytest.mark.parametrize(
    ("arch", "transposed", "rows", "different"),
    [
        ("sm_80", True, [1, 16, 17, 256, 257], [0, 0, 1, 1, 2]),
        ("sm_90a", True, [0, 1, 16, 17, 64, 65], [None, 0, 0, 1, 1, 2]),
        ("sm_90a", False, [16, 17, 64, 65], [0, 1, 1, 2]),
    ],
)
def test_matmul(arch, transposed, rows, different):
    w = random((72, 40) if transposed else (40, 72), "bf16", 1)
    found = kernels_by_rows(
        MatmulOp,
        lambda n: [random((n, 40), "bf16", n), w],
        rows,
        arch,
        {(0, 0)},
        transpose_weight=transposed,
    )
    names = list(dict.fromkeys(names for names in found if names))
    assert all(len(kernels) == 1 for kernels in names)
    assert found == [() if n is None else names[n] for n in different]
    assert names[-1][0].startswith("rlx_matmul_wgmma") == (arch == "sm_90a")


def test_integers():
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (40, 48), np.int8)
    scales = rng.uniform(0.01, 0.02, 40).astype(np.float32)
    found = kernels_by_rows(
        DequantMatmulOp,
        lambda n: [random((n, 48), "f16", n), weight, scales],
        [16, 17, 256, 257],
        "sm_80",
        {(0, 0)},
        transpose_weight=True,
    )
    one, some, again, many = found
    assert some == again and len({one, some, many}) == 3


def test_which_one():
    found = [(16, "few"), (64, "some"), (None, "many")]
    assert [pick(found, n) for n in (0, 16, 17, 64, 65, None)] == (
        ["few", "few", "some", "some", "many", "many"]
    )
    with ir.Context(), ir.Location.unknown():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            assert conditions(5, [None]) == [None]
            assert len(conditions(5, [16, 64, None])) == 3
