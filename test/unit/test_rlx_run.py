"""The command `rlx-run`."""

import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rlx.tools.rlx_run import main

CHECKPOINT = Path(__file__).parents[2] / "examples" / "tiny-gemma3"

TEXT = """
func.func @main(%x: tensor<?x2xf32> {rlx.name = "x"}, %n: i64 {rlx.name = "n"})
    -> (tensor<?x2xf32> {rlx.name = "sum/a"}, i64 {rlx.name = "n"},
        tensor<?x2xbf16> {rlx.name = "b"}) {
  %c = arith.constant 0 : i64
  %ok = arith.cmpi sge, %n, %c : i64
  cf.assert %ok, "n is negative"
  %0 = arith.addf %x, %x : tensor<?x2xf32>
  %1 = arith.truncf %0 : tensor<?x2xf32> to tensor<?x2xbf16>
  return %0, %n, %1 : tensor<?x2xf32>, i64, tensor<?x2xbf16>
}
func.func @other() -> i64 {
  %c = arith.constant 7 : i64
  return %c : i64
}
"""
X = np.array([[1, 2], [3, 4], [5, 6]], np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RLX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.mlir").write_text(TEXT)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "n.npy", np.int64(5))
    return tmp_path


def run(*args):
    return main(list(map(str, args)))


def test_inputs_from_files(capsys):
    assert run("f.mlir", "--input", "x=x.npy", "--input", "n=n.npy") == 0
    assert capsys.readouterr().out.splitlines() == [
        "sum/a: tensor<3x2xf32> = [2, 4, 6, 8, ...]",
        "n: i64 = 5",
        "b: tensor<3x2xbf16> = [2, 4, 6, 8, ...]",
    ]


def test_inputs_from_safetensors(capsys, folder):
    save_file({"x": X, "other": X}, folder / "x.safetensors")
    assert run("f.mlir", "--input=x=x.safetensors", "--input=n=n.npy") == 0
    assert "sum/a: tensor<3x2xf32> = [2, 4, 6, 8, ...]" in capsys.readouterr().out


def test_outputs(folder):
    assert run("f.mlir", "--input", "x=x.npy", "--input", "n=n.npy", "--output", "out/put") == 0
    out = folder / "out" / "put"
    assert sorted(path.name for path in out.iterdir()) == ["b.safetensors", "n.npy", "sum_a.npy"]
    np.testing.assert_array_equal(np.load(out / "sum_a.npy"), 2 * X)
    assert np.load(out / "n.npy") == 5
    stored = load_file(out / "b.safetensors")["b"]
    assert stored.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(stored.astype(np.float32), 2 * X)


def test_random_inputs(capsys):
    outputs = []
    for seed in ("1", "1", "2"):
        args = ("f.mlir", "--random-inputs", "--seed", seed, "--shape", "x=4x2")
        assert run(*args) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]
    assert "sum/a: tensor<4x2xf32>" in outputs[0]
    assert run("f.mlir", "--random-inputs", "--dim=3", "--int-limit=1", "--input=n=n.npy") == 0
    out = capsys.readouterr().out
    assert "tensor<3x2xf32>" in out
    assert "n: i64 = 5" in out


def test_random_inputs_of_all_types(capsys, folder):
    types = ["f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "i1"]
    types = [f"tensor<?x{t}>" for t in types] + types
    arguments = ", ".join(f"%a{i}: {t}" for i, t in enumerate(types))
    values = ", ".join(f"%a{i}" for i in range(len(types)))
    (folder / "g.mlir").write_text(
        f"func.func @main({arguments}) -> ({', '.join(types)}) {{\n"
        f"return {values} : {', '.join(types)} }}\n"
    )
    assert run("g.mlir", "--random-inputs", "--dim=2", "--int-limit=1000") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(types)
    for line, type_ in zip(lines, types, strict=True):
        assert f": {type_.replace('?', '2')} = " in line


def test_entry_target_and_stdin(capsys, monkeypatch):
    assert run("f.mlir", "--entry=other", "--target=cpu{opt-level=1}") == 0
    assert capsys.readouterr().out == "result0: i64 = 7\n"
    with open("f.mlir") as file:
        monkeypatch.setattr("sys.stdin", file)
        assert run("-", "--entry", "other") == 0
    assert capsys.readouterr().out == "result0: i64 = 7\n"


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ("rlx", "arith.addf"),
        ("fused", "arith.addf"),
        ("linalg", "linalg.generic"),
        ("bufferized", "memref.alloc"),
        ("llvm", "llvm.func"),
    ],
)
def test_emit(capsys, stage, text):
    assert run("f.mlir", f"--emit={stage}") == 0
    assert text in capsys.readouterr().out


def test_dump(folder):
    assert run("f.mlir", "--entry=other", "--dump=ir") == 0
    assert (folder / "ir" / "2_linalg.mlir").is_file()


def test_time(capsys):
    assert run("f.mlir", "--entry=other", "--time", "--no-cache") == 0
    out = capsys.readouterr().out
    for step in ("parse", "linalg", "llvm", "object", "run"):
        assert f"\n  {step} " in out
    assert "median of" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere.mlir"], "no such file or directory: nowhere.mlir"),
        (["."], "config.json"),
        (["f.mlir"], r"missing inputs (--input NAME=FILE or --random-inputs): x: tensor<?x2xf32>"),
        (["f.mlir", "--input", "x"], "--input: expected NAME=FILE, but got 'x'"),
        (["f.mlir", "--input", "y=x.npy"], "--input: no input 'y'; there are: x, n"),
        (["f.mlir", "--input", "x=nowhere.npy"], "cannot read nowhere.npy: No such file"),
        (["f.mlir", "--input", "x=f.mlir"], "f.mlir is not a .npy file"),
        (["f.mlir", "--input", "x=f.safetensors"], "f.safetensors"),
        (["f.mlir", "--input", "x=y.safetensors"], "holds no tensor 'x'; it holds: y, z"),
        (["f.mlir", "--random-inputs", "--input", "x=n.npy"], "'x': expected tensor<?x2xf32>"),
        (["f.mlir", "--shape", "x=2"], "--shape: 'x=2' does not fit x: tensor<?x2xf32>"),
        (["f.mlir", "--shape", "x=2x3"], "--shape: 'x=2x3' does not fit x: tensor<?x2xf32>"),
        (["f.mlir", "--shape", "x=axb"], "--shape: expected NAME=2x16, but got 'x=axb'"),
        (["f.mlir", "--shape", "z=2x2"], "--shape: no input 'z'"),
        (["f.mlir", "--random-inputs", "--dim=-1"], "--dim: expected a size, but got -1"),
        (["f.mlir", "--emit=ptx"], "known: rlx, fused, linalg, bufferized, llvm"),
        (["f.mlir", "--emit=llvm", "--random-inputs"], "--emit prints IR and runs nothing"),
        (["f.mlir", "--target=tpu"], "unknown target 'tpu'"),
        (["f.mlir", "--entry=g"], "function 'g' does not exist"),
        (["f.mlir", "--dtype=f32"], "--dtype is for checkpoints"),
        (["bad.mlir"], "bad.mlir is not valid MLIR"),
        (["f.mlir", "--input=x=x.npy", "--input=n=m.npy"], "n is negative"),
    ],
)
def test_errors(capsys, folder, args, message):
    (folder / "bad.mlir").write_text("no mlir")
    save_file({"y": X, "z": X}, folder / "y.safetensors")
    np.save(folder / "m.npy", np.int64(-1))
    assert run(*args) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("rlx-run: error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_unknown_flags():
    with pytest.raises(SystemExit) as caught:
        run("f.mlir", "--inputs", "x")
    assert caught.value.code == 2


def test_checkpoint_agrees_with_its_reference(capsys):
    assert run(CHECKPOINT) == 0
    out = capsys.readouterr().out
    assert out.startswith("logits: tensor<2x24x256xf32> = [")
    assert "\nlogits: ok: max difference from reference.safetensors" in out


def test_checkpoint_that_disagrees(capsys, folder):
    shutil.copytree(CHECKPOINT, folder / "model")
    path = folder / "model" / "reference.safetensors"
    tensors = load_file(path)
    tensors["logits"][1, 3, 5] += 0.01
    save_file(tensors, path)
    assert run("model") == 1
    assert "logits: FAIL: max difference from reference.safetensors 0.01" in capsys.readouterr().out
    assert run("model", "--tolerance=0.1") == 0
    tensors["logits"][0, 0, 0] = np.nan
    save_file(tensors, path)
    assert run("model", "--tolerance=0.1") == 1
    save_file({**tensors, "logits": tensors["logits"][:1]}, path)
    assert run("model") == 1
    assert "shape (2, 24, 256), recorded (1, 24, 256)" in capsys.readouterr().out
    del tensors["logits"]
    save_file(tensors, path)
    assert run("model") == 1
    assert (
        f"{Path('model') / path.name} holds none of the results: logits" in capsys.readouterr().err
    )


def test_checkpoint_on_other_inputs(capsys):
    assert run(CHECKPOINT, "--random-inputs", "--shape=input_ids=1x5") == 0
    out = capsys.readouterr().out
    assert out.startswith("logits: tensor<1x5x256xf32> = [")
    assert "reference" not in out


def test_as_a_command(folder):
    """No traceback, nothing but results on stdout, nothing on stderr when it is no terminal."""
    command = [sys.executable, "-m", "rlx.tools.rlx_run"]
    good = subprocess.run(
        [*command, "f.mlir", "--entry=other"], capture_output=True, text=True, cwd=folder
    )
    assert (good.returncode, good.stdout, good.stderr) == (0, "result0: i64 = 7\n", "")
    bad = subprocess.run([*command, "g.mlir"], capture_output=True, text=True, cwd=folder)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr == "rlx-run: error: no such file or directory: g.mlir\n"
    help_ = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=folder)
    assert help_.returncode == 0
    assert "--random-inputs" in help_.stdout
