"""The benchmark on GPUs, as far as it goes without one."""

import json
import subprocess
import sys
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.cuda import cases, references, run
from bench.cuda.pack import pack
from bench.cuda.peers import peers

SMALL = [
    cases._attention("attention", 16, 2, 1, (), softcap=5.0, left_window=20),
    cases._attention("rope", 16, 2, 1, (), rope=True),
    cases._decode(16, 2, 1),
    cases._decode(16, 2, 1, lengths=False),
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
    assert error < references.TOLERANCE["bf16"]


def test_a_wrong_kernel_is_found(simulated):
    case = SMALL[4]
    executable = simulated(case)
    error = run.check_small(case.facts(), lambda a, w: executable(a, w) * 1.1, rounded)
    assert error > references.TOLERANCE["bf16"]


def test_every_case_is_described():
    for case in cases.CASES:
        for sizes in (case.small, *case.sizes):
            flops, moved = references.work(case.facts(), sizes)
            assert flops >= 0 and moved > 0
    names = [case.name for case in cases.CASES]
    assert len(set(names)) == len(names)


def test_work_of_attention():
    facts = cases._attention("a", 64, 2, 1, ()).facts()
    flops, moved = references.work(facts, {"B": 1, "S": 4, "K": 4})
    assert flops == 4 * 2 * 64 * (1 + 2 + 3 + 4)
    assert moved == 2 * 4 * 64 * (2 + 1 + 1 + 2)


def test_best_code_for_a_gpu():
    archs = ["sm_80", "sm_86", "sm_90a"]
    assert run.arch_of((9, 0), archs) == "sm_90a"
    assert run.arch_of((8, 9), archs) == "sm_86"
    assert run.arch_of((10, 0), archs) == "sm_86"
    with pytest.raises(SystemExit, match="nothing was compiled for sm_75"):
        run.arch_of((7, 5), archs)


def test_differences():
    wanted = np.ones((4, 100), np.float32)
    one, row = wanted.copy(), wanted.copy()
    one[2, 5] += 0.5
    row[3] += 0.03
    assert references.difference(wanted, wanted, np) == 0
    assert references.difference(one, wanted, np) == pytest.approx(0.05)
    assert references.difference(row, wanted, np) == pytest.approx(0.03)
    row[0, 0] = np.nan
    assert references.difference(row, wanted, np) == np.inf
    assert references.difference(torch.tensor(one), torch.tensor(wanted), torch) == pytest.approx(
        0.05
    )


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_peers_compute_the_same(case, monkeypatch):
    """As far as they run on a CPU: neither names nor arguments of PyTorch's functions are wrong."""
    from torch.nn.attention import flex_attention

    make_mask = flex_attention.create_block_mask
    on_cpu = lambda *args, device: make_mask(*args, device="cpu")  # noqa: E731
    monkeypatch.setattr(flex_attention, "create_block_mask", on_cpu)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    facts, sizes = case.facts(), case.small
    facts["attrs"]["dtype"] = "f32"
    if "S" in sizes:
        sizes = {k: min(n, 40) if k in "SK" else n for k, n in sizes.items()}
    arrays = run.on_gpu(facts, sizes, torch)
    if facts["attrs"].get("lengths"):
        arrays[-1][:] = sizes["K"]
    wanted = references.expected(facts, arrays, torch)
    plain = dict(facts, attrs=facts["attrs"] | {"rope": False})
    unturned = references.expected(plain, arrays, torch)
    worked = 0
    for name, call in peers(facts, arrays, torch).items():
        try:
            found = call()
        except RuntimeError as error:
            assert "backend" in str(error), name
            continue
        if case.kind == "attention":
            found = found.transpose(1, 2).reshape(wanted.shape)
        target = wanted if name.startswith("rope+") or case.kind != "attention" else unturned
        assert references.difference(found, target, torch) < 1e-4, name
        worked += 1
    assert worked


def test_the_folder_stands_alone(tmp_path):
    folder = tmp_path / "packed"
    size = pack(folder, ["sm_80"], SMALL[4:5])
    assert 0 < size < 2**22
    # Without a GPU, it says so; neither the compiler nor the checkout is needed for that.
    code = (
        "import sys, runpy\n"
        "for name in ('mlir', 'torch_mlir', 'llvmlite', 'ml_dtypes'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
        "import rlx.runtime.arguments, rlx.runtime.parameters, rlx.runtime.cuda.arrays\n"
        f"assert rlx.__file__.startswith({str(folder)!r})\n"
        "from rlx import dtypes\n"
        "assert 'f32' in dtypes.NAMES and 'bf16' not in dtypes.NAMES\n"
        f"sys.argv = ['run.py']\nrunpy.run_path({str(folder / 'run.py')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "there is no GPU to run on" in done.stderr
    with pytest.raises(ValueError, match="not empty"):
        pack(folder, ["sm_80"], [])


def test_torch_without_gpus(tmp_path, monkeypatch, capsys):
    import rlx.runtime.cuda

    (tmp_path / "cases.json").write_text('{"archs": ["sm_80"], "cases": [{"name": "a"}]}')
    monkeypatch.setattr(rlx.runtime.cuda, "available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run.main([], tmp_path) == 2
    assert "finds no GPU" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run.main(["--cases=b"], tmp_path)
    assert "no case is named b" in capsys.readouterr().err


def test_a_case_that_fails_or_hangs_leaves_the_others_alone(tmp_path, capfd):
    (tmp_path / "run.py").write_text(
        "import json, pathlib, sys, time\n"
        "given = dict(a[2:].split('=', 1) for a in sys.argv[1:] if '=' in a)\n"
        "assert given['arch'] == 'sm_80' and '--quick' in sys.argv and given['here'] == 'null'\n"
        "if given['cases'] == 'slow': time.sleep(60)\n"
        "if given['cases'] == 'bad': sys.exit(3)\n"
        "rows = [{'case': given['cases'], 'error': 0.0, 'ok': True}]\n"
        "pathlib.Path(given['output']).write_text(json.dumps(rows))\n"
    )
    output = tmp_path / "figures.json"
    options = Namespace(quick=True, rounds=1, timeout=5, output=output)
    fake = SimpleNamespace(
        cuda=SimpleNamespace(get_device_name=lambda: "a fake"), __version__="2.11"
    )
    cases = [{"name": name} for name in ("bad", "slow", "good")]
    rows = run._run_each(cases, tmp_path, "sm_80", options, fake)
    assert [row["ok"] for row in rows] == [False, False, True]
    told = capfd.readouterr().out
    assert "FAILED: the process ended early" in told and "FAILED: took more than 5 s" in told
    assert json.loads(output.read_text())["rows"] == rows
