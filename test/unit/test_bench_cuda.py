"""The benchmark on GPUs, as far as it goes without one."""

import json
import subprocess
import sys
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.cuda import cases, check, diagnosis, references, run
from bench.cuda.pack import pack
from bench.cuda.peers import peers
from bench.cuda.processes import run_each
from bench.cuda.stored import STORED

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
    error = check.check_small(facts, simulated(case), rounded)
    assert error < references.TOLERANCE["bf16"]


def test_a_wrong_kernel_is_found(simulated):
    case = SMALL[4]
    executable = simulated(case)
    error = check.check_small(case.facts(), lambda a, w: executable(a, w) * 1.1, rounded)
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
    arrays = check.on_gpu(facts, sizes, torch)
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
    size = pack(folder, ["sm_80"], SMALL[4:5], [])
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
        pack(folder, ["sm_80"], [], [])


@pytest.fixture
def a_gpu(monkeypatch):
    """Pretends that there is a GPU, but for PyTorch."""
    import rlx.runtime.cuda

    monkeypatch.setattr(rlx.runtime.cuda, "available", lambda: True)
    gpu = SimpleNamespace(name="a fake", capability=(9, 0))
    monkeypatch.setattr("rlx.runtime.cuda.driver.driver", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_torch_without_gpus(tmp_path, monkeypatch, capsys, a_gpu):
    facts = [{"name": "a", "kind": "matmul"}, {"name": "b", "kind": "stored"}]
    (tmp_path / "cases.json").write_text(json.dumps({"archs": ["sm_80"], "cases": facts}))
    commands = []

    def rows(command, names, patience, limit):
        commands.append((command, names))
        return iter([{"case": "b", "ok": True}])

    monkeypatch.setattr(run, "run_each", rows)
    assert run.main([f"--output={tmp_path / 'out.json'}"], tmp_path) == 1
    ((command, names),) = commands
    assert names == ["b"] and "--quick" in command and "--arch=sm_80" in command
    out = capsys.readouterr().out
    assert (
        "a fake, code for sm_80" in out and "finds no GPU" in out and 'right: {"case": "a"' in out
    )
    assert len(json.loads((tmp_path / "out.json").read_text())["rows"]) == 2
    assert run.main(["--cases=b"], tmp_path) == 0
    with pytest.raises(SystemExit):
        run.main(["--cases=c"], tmp_path)
    assert "no case is named c" in capsys.readouterr().err


PROCESS = """
import json, os, signal, sys, time

given = dict(a[2:].split("=", 1) for a in sys.argv[1:] if "=" in a)

def note(**row):
    with open(given["rows"], "a") as file:
        file.write(json.dumps(row) + "\\n")

for case in given["cases"].split(","):
    note(case=case, begins=True)
    if case == "slow":
        note(case=case, error=0.5, ok=True)
        time.sleep(60)
    if case == "bad":
        sys.exit(3)
    if case == "killed":
        os.kill(os.getpid(), signal.SIGSEGV)
    note(case=case, process=os.getpid(), ok=True)
    note(case=case, ends=True)
"""


def test_a_case_that_fails_or_hangs_leaves_the_others_alone(tmp_path):
    (tmp_path / "run.py").write_text(PROCESS)
    command = [sys.executable, str(tmp_path / "run.py")]
    names = ["good", "bad", "slow", "killed", "fine", "better"]
    rows = list(run_each(command, names, 2, 60))
    assert [row["case"] for row in rows] == ["good", "bad", "slow", "slow", "killed", *names[4:]]
    failed = {row["case"]: row["failed"] for row in rows if "failed" in row}
    assert failed == {
        "bad": "the process ended early, with 3",
        "slow": "nothing happened for 2 s",
        "killed": "the process ended early, by SIGSEGV",
    }
    assert rows[-1]["process"] == rows[-2]["process"] != rows[0]["process"]


def test_what_has_no_time_is_told(tmp_path):
    (tmp_path / "run.py").write_text(PROCESS)
    command = [sys.executable, str(tmp_path / "run.py")]
    rows = list(run_each(command, ["good", "slow", "fine"], 60, 1))
    failed = {row["case"]: row["failed"] for row in rows if "failed" in row}
    assert failed == {"slow": "there was no time", "fine": "there was no time"}
    # A process that cannot begin is no reason to try for ever.
    rows = list(run_each([sys.executable, "-c", "1/0"], ["a", "b"], 60, 60))
    assert [row["failed"] for row in rows] == ["the process ended early, with 1"] * 2


def test_figures_are_written_as_they_come(tmp_path, monkeypatch):
    output = tmp_path / "figures.json"
    seen = []

    def rows(command, names, patience, limit):
        assert names == ["a", "b"] and patience == 7 and limit == 70
        assert "--arch=sm_80" in command and "--quick" in command and "--peaks=null" in command
        for name in names:
            yield {"case": name, "ok": True}
            seen.append(json.loads(output.read_text())["rows"])

    monkeypatch.setattr(run, "run_each", rows)
    options = Namespace(quick=True, rounds=1, timeout=7, limit=70, output=output)
    about = {"device": "a fake", "arch": "sm_80", "torch": "2.11"}
    facts = [{"name": "a", "kind": "matmul"}, {"name": "b", "kind": "stored"}]
    found = run._run_each(facts, tmp_path, about, options, torch)
    assert seen == [found[:1], found] and json.loads(output.read_text())["device"] == "a fake"


class Fake:
    """Instead of an executable: computes what the reference does, perhaps wrongly."""

    def __init__(self, case, spoil=lambda result: result):
        self.case, self.spoil = case, spoil
        self.program = SimpleNamespace(plan=None)

    def on(self, stream):
        def call(*arrays):
            wide = [a if a.dtype == torch.int32 else a.float() for a in arrays]
            return self.spoil(references.expected(self.case, wide, torch)).to(arrays[0].dtype)

        return call


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """What works on cases without a GPU, with fakes instead of executables."""
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: 0)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(check, "_replayed", lambda executable, arrays, like, torch: like)
    monkeypatch.setattr(check, "_SMALL", 0)
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *a, device, **k: randn(*a, **k))
    monkeypatch.setattr(check, "peers", lambda case, arrays, torch: {"other": lambda: None})
    monkeypatch.setattr(diagnosis, "launches", lambda executable, arrays: ["a kernel"])
    clock = SimpleNamespace(compare=lambda calls: {n: (c(), 1e-3)[1] for n, c in calls.items()})
    made = {}
    monkeypatch.setattr(check.Desk, "load", lambda self, name, arch: made[arch, name])
    desk = check.Desk(
        tmp_path, "sm_90a", torch, clock, (1e14, 1e12), tmp_path / "rows", tmp_path / "kept"
    )
    return desk, made


def rows_of(desk):
    return [json.loads(line) for line in desk.rows.read_text().splitlines()]


CASES = [
    cases._matmul("matmul", True, 16, 24, (5, 6)),
    cases._attention("attention", 16, 2, 1, (20,)),
    cases._decode(16, 2, 1),
]


def test_cases_that_are_right_are_timed(desk):
    desk, made = desk
    facts = [case.facts() for case in CASES]
    facts[2]["sizes"] = facts[2]["sizes"][:1]
    for case in facts:
        case["small"] = {k: min(n, 30) if k in "SK" else n for k, n in case["small"].items()}
        case["sizes"] = [{k: min(n, 24) for k, n in sizes.items()} for sizes in case["sizes"]]
        made["sm_90a", case["name"]] = made["sm_80", case["name"]] = Fake(case)
    (desk.folder / "code" / "sm_80" / "matmul").mkdir(parents=True)
    assert check.run_cases(facts, desk) == 0
    rows = rows_of(desk)
    assert [r["case"] for r in rows if r.get("ends")] == [
        "matmul",
        "attention",
        "decode_d16_lengths",
    ]
    assert all(r["ok"] for r in rows if "ok" in r)
    timed = [list(r["seconds"]) for r in rows if r["case"] == "matmul" and "seconds" in r]
    assert timed == [["rlx"], ["rlx", "rlx, sm_80", "other"]] * 2


def test_results_that_are_wrong_are_described(desk, capsys):
    desk, made = desk

    def spoil(result):
        result = result.clone()
        result[..., 3:5] *= 1.5
        return result

    facts = [case.facts() for case in CASES[:2]]
    facts[1] |= {"small": {"B": 1, "S": 20, "K": 20}, "sizes": []}
    for case in facts:
        made["sm_90a", case["name"]] = Fake(case, spoil)
    made["sm_80", "matmul"] = Fake(facts[0])
    (desk.folder / "code" / "sm_80" / "matmul").mkdir(parents=True)
    for case in facts:
        # The others are left to another process.
        assert check.run_cases([case, case], desk) == 1
    assert sum(bool(row.get("ends")) for row in rows_of(desk)) == 2
    told = capsys.readouterr().out
    assert "a kernel" in told and "code for sm_80: error" in told
    assert "2 of 16 on axis 1, 3 to 4), first [0, 3]" in told
    assert "queries of zeros, so that weights are equal: error " in told
    with np.load(desk.keep / "attention-values-of-ones.npz") as kept:
        assert np.allclose(kept["actual"][..., 3:5], 1.5) and np.allclose(kept["wanted"], 1)


def test_a_case_that_raises_is_told(desk, capsys):
    desk, made = desk
    case = CASES[0].facts()
    made["sm_90a", "matmul"] = Fake(case, lambda result: 1 / 0)
    assert check.run_cases([case], desk) == 1
    assert {"case": "matmul", "failed": "ZeroDivisionError: division by zero", "ok": False} in (
        rows_of(desk)
    )
    assert "1 / 0" in capsys.readouterr().out


def test_where_a_result_is_wrong():
    wanted = np.ones((4, 100), np.float32)
    assert diagnosis.where(wanted, wanted, 1e-2) == "no element is wrong"
    bad = wanted.copy()
    bad[1:3, 64:96] = 2
    bad[2, 70] = np.nan
    assert diagnosis.where(bad, wanted, 1e-2) == (
        "64 of 400 elements, 1 NaN (2 of 4 on axis 0, 1 to 2; 32 of 100 on axis 1, 64 to 95), "
        "first [1, 64] 2 instead of 1, worst [2, 70] nan instead of 1"
    )


def test_launches_are_described(simulated):
    case = SMALL[4]
    executable = simulated(case)
    (text,) = diagnosis.launches(executable, [np.zeros((5, 24)), np.zeros((16, 24))])
    assert text.startswith("rlx_matmul_nk_bf16_0: grid (1, 1, 1), block (64, 1, 1), ")


def test_stored_cases(tmp_path, simulated, monkeypatch):
    """What is packed with arguments and results; here on a simulated GPU."""
    stored = [case for case in STORED if case.name in ("embedding", "rope_positions")]
    pack(tmp_path / "packed", ["sm_80"], [], stored)
    facts = json.loads((tmp_path / "packed" / "cases.json").read_text())["cases"]
    for case, fact in zip(stored, facts, strict=True):
        source, arrays = case.make()
        executable = simulated(SimpleNamespace(text=source))
        ((error, found, wanted),) = check.check_stored(fact, tmp_path / "packed", executable)
        assert error <= case.tolerance and found.shape == wanted.shape
        assert set(arrays) == {spec.name for spec in executable.program.arguments}
    names = [case.name for case in (*STORED, *cases.CASES)]
    assert len(set(names)) == len(names)


def test_a_stored_case_that_is_wrong(desk, tmp_path, capsys):
    desk, made = desk
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "a.npz", **{"x": np.ones(4), "result 0": np.ones((2, 3))})
    attrs = {"dtype": "f16", "tolerance": 4e-3, "results": 1}
    made["sm_90a", "a"] = SimpleNamespace(
        bind=lambda arrays: None,
        inputs=[SimpleNamespace(name="x")],
        run=lambda given: {"y": given["x"].sum() * np.ones((2, 3))},
    )
    made["sm_80", "a"] = made["sm_90a", "a"]
    (desk.folder / "code" / "sm_80" / "a").mkdir(parents=True)
    assert check.run_cases([{"name": "a", "kind": "stored", "attrs": attrs}], desk) == 1
    out = capsys.readouterr().out
    assert "first [0, 0] 4 instead of 1" in out and "code for sm_80, 0: error 3.0" in out
    assert (desk.keep / "a-result-0.npz").exists()
    assert rows_of(desk)[1] == {"case": "a", "error": 3.0, "ok": False}
