"""The benchmark on GPUs, as far as it goes without one."""

import json
import subprocess
import sys

import numpy as np
import pytest

from bench.cuda import cases, run
from bench.cuda.pack import pack

SMALL = [
    cases._attention("attention", 16, 2, 1, (), softcap=5.0, left_window=20),
    cases._attention("rope", 16, 2, 1, (), rope=True),
    cases._decode(16, 2, 1),
    cases._matmul("matmul", True, 16, 24, (5,)),
    cases._rope(),
    cases._norm(),
    cases._glu(),
]


def rounded(array, dtype):
    import ml_dtypes

    return array.astype({"bf16": ml_dtypes.bfloat16, "f16": np.float16}[dtype])


@pytest.fixture
def simulated(monkeypatch):
    monkeypatch.syspath_prepend("test/numerics")
    from cuda_programs import program

    return lambda case: program(case.text)[0]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_references_agree_with_kernels(case, simulated):
    facts = json.loads(json.dumps(case.facts()))
    facts["small"] = {k: min(n, 40) if k in "SK" else n for k, n in facts["small"].items()}
    error = run.check_small(facts, simulated(case), rounded)
    assert error < run.TOLERANCE["bf16"]


def test_a_wrong_kernel_is_found(simulated):
    case = SMALL[3]
    executable = simulated(case)
    error = run.check_small(case.facts(), lambda a, w: executable(a, w) * 1.1, rounded)
    assert error > run.TOLERANCE["bf16"]


def test_every_case_is_described():
    for case in cases.CASES:
        for sizes in (case.small, *case.sizes):
            flops, moved = run.work(case.facts(), sizes)
            assert flops >= 0 and moved > 0
    names = [case.name for case in cases.CASES]
    assert len(set(names)) == len(names)


def test_work_of_attention():
    facts = cases._attention("a", 64, 2, 1, ()).facts()
    flops, moved = run.work(facts, {"B": 1, "S": 4, "K": 4})
    assert flops == 4 * 2 * 64 * (1 + 2 + 3 + 4)
    assert moved == 2 * 4 * 64 * (2 + 1 + 1 + 2)


def test_best_code_for_a_gpu():
    archs = ["sm_80", "sm_86", "sm_90a"]
    assert run.arch_of((9, 0), archs) == "sm_90a"
    assert run.arch_of((8, 9), archs) == "sm_86"
    assert run.arch_of((10, 0), archs) == "sm_86"
    with pytest.raises(SystemExit, match="nothing was compiled for sm_75"):
        run.arch_of((7, 5), archs)


def test_the_folder_stands_alone(tmp_path):
    folder = tmp_path / "packed"
    size = pack(folder, ["sm_80"], SMALL[3:4])
    assert 0 < size < 2**22
    # Without a GPU, it says so; neither the compiler nor the checkout is needed for that.
    code = (
        "import sys, runpy\n"
        "for name in ('mlir', 'torch_mlir', 'llvmlite', 'ml_dtypes'): sys.modules[name] = None\n"
        f"sys.argv = ['run.py']\nrunpy.run_path({str(folder / 'run.py')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "there is no GPU to run on" in done.stderr
    with pytest.raises(ValueError, match="not empty"):
        pack(folder, ["sm_80"], [])
