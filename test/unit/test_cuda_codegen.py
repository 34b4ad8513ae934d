"""Kernels to PTX and to machine code, and what happens when LLVM or ptxas refuse them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rlx
from rlx import compiler
from rlx.diagnostics import CompileError
from rlx.host import ir
from rlx.runtime.cuda import load
from rlx.schedules.cuda.arch import ARCHS
from rlx.targets import TargetError, cuda_tools, get, nvptx
from rlx.targets.cuda import CudaTarget, arch_for
from rlx.targets.llvm_text import for_older_llvm
from rlx.tools.rlx_compile import main

EVERYTHING = Path(__file__).parents[1] / "Target" / "cuda" / "everything.mlir"
needs_ptxas = pytest.mark.skipif(cuda_tools.ptxas() is None, reason="there is no ptxas")


# -- the target ------------------------------------------------------------------------------------


def test_text_of_targets():
    assert get("cuda:sm_90a") == CudaTarget("sm_90a") == get("cuda{arch=sm_90a}")
    assert get("cuda:sm_86{opt-level=1}") == CudaTarget("sm_86", "1")
    assert get("cuda") == CudaTarget("sm_80")
    assert get("cpu:none").kernels == "none"
    for text, message in (
        ("cuda:sm_70", "expected an architecture from sm_80 on"),
        ("cuda:gfx90a", "expected an architecture from sm_80 on"),
        ("cpu:avx1024", "kernels"),
        ("cuda:", "expected an architecture"),
        ("cuda:sm_80{arch=sm_90}", "option 'arch' is given twice"),
        ("cuda{opt-level=9}", "option 'opt-level' of 'cuda' must be one of 0, 1, 2, 3"),
    ):
        with pytest.raises(TargetError, match=message):
            get(text).stages()


def test_newer_architectures_run_portable_code():
    assert arch_for("sm_87").name == "sm_86" and arch_for("sm_100a").name == "sm_90"
    assert not arch_for("sm_120").wgmma and arch_for("sm_90a").wgmma


def test_keys_tell_architectures_apart():
    keys = {get(f"cuda:{arch}").key for arch in ("sm_80", "sm_86", "sm_90", "sm_90a")}
    assert len(keys) == 4


# -- LLVM IR ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("fadd float %a, 1.000000e-01", "fadd float %a, 0x3FB99999A0000000"),
        ("fadd float %a, +inf", "fadd float %a, 0x7FF0000000000000"),
        ("ret float -inf", "ret float 0xFFF0000000000000"),
        ("ret float +qnan", "ret float 0x7FF8000000000000"),
        ("ret double f0x3FF0000000000000", "ret double 0x3FF0000000000000"),
        ("ret half f0x3C00", "ret half 0xH3C00"),
        ("ret bfloat -1.500000e+00", "ret bfloat 0xRBFC0"),
        ("ret half +nan(0x1)", "ret half 0xH7E01"),
        ("ret half -snan(0x1)", "ret half 0xHFC01"),
        (
            "<2 x float> <float 1.0, float f0x40000000>, double 2.5",
            "<2 x float> <float 0x3FF0000000000000, float 0x4000000000000000>, "
            "double 0x4004000000000000",
        ),
        ("splat (bfloat 1.0)", "splat (bfloat 0xR3F80)"),
        ('asm "mov.f32 1.5, +inf", float 1.5', 'asm "mov.f32 1.5, +inf", float 0x3FF8000000000000'),
        ("%x1.5 = load float, ptr @f.1.0", "%x1.5 = load float, ptr @f.1.0"),
        ("; float 1.5", "; float 1.5"),
        ("declare float @llvm.sqrt.f32(float) #2", "declare float @llvm.sqrt.f32(float)"),
        ("declare float @mine(float) #2", "declare float @mine(float) #2"),
        (
            "@__dynamic_shmem__0 = internal addrspace(3) global [0 x i8] undef, align 16",
            "@__dynamic_shmem__0 = external addrspace(3) global [0 x i8], align 1024",
        ),
    ],
)
def test_words_that_an_older_llvm_does_not_know(newer, older):
    assert for_older_llvm(newer) == older + "\n"


@pytest.mark.parametrize(("type_", "dtype"), [("float", np.float32), ("half", np.float16)])
def test_decimals_become_the_nearest_bits(type_, dtype):
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    for value in [*rng.standard_normal(50), float(info.max), float(info.tiny), 1 / 3, -0.0]:
        text = for_older_llvm(f"ret {type_} {value:.17e}").split()[-1]
        if type_ == "half":
            found = np.uint16(int(text[3:], 16)).view(np.float16)
        else:
            found = np.uint64(int(text, 16)).view(np.float64).astype(np.float32)
        assert found.tobytes() == dtype(value).tobytes()


# -- PTX -------------------------------------------------------------------------------------------


def kernels(body, arguments="%x: f32"):
    """A module with one kernel, in the LLVM dialect."""
    return ir.Module.parse(f"""
        gpu.module @kernels {{
          llvm.func @fine() attributes {{nvvm.kernel}} {{ llvm.return }}
          llvm.func @odd({arguments}) attributes {{nvvm.kernel}} {{ {body} llvm.return }}
        }}""")


def test_ops_of_other_dialects_are_named():
    with ir.Context(), ir.Location.unknown():
        module = kernels("%0 = math.trunc %x : f32")
        with pytest.raises(CompileError, match=r"in kernel 'odd': 'math\.trunc' op has no"):
            nvptx.ptx(module, ARCHS["sm_80"])


def test_an_abort_of_llvm_is_an_error_with_a_reproducer():
    # There is no instruction for the accurate tanh: LLVM ends the process.
    with ir.Context(), ir.Location.unknown():
        module = kernels(
            "%0 = llvm.intr.tanh(%x) : (f32) -> f32 llvm.store %0, %p : f32, !llvm.ptr",
            "%x: f32, %p: !llvm.ptr",
        )
        with pytest.raises(CompileError, match="kernel 'odd' cannot be compiled") as error:
            nvptx.ptx(module, ARCHS["sm_80"])
    path = Path(str(error.value).split()[-1])
    request = json.loads(path.read_text())
    assert request["arch"] == "sm_80"
    assert "@odd" in request["mlir"] and "@fine" not in request["mlir"]
    done = subprocess.run(
        [sys.executable, "-m", "rlx.targets.nvptx_worker", str(path)], capture_output=True
    )
    assert done.returncode or "error" in json.loads(done.stdout)
    path.unlink()
    path.parent.rmdir()


def test_functions_without_a_body_are_refused():
    with ir.Context(), ir.Location.unknown():
        module = ir.Module.parse("""
            gpu.module @kernels {
              llvm.func @elsewhere()
              llvm.func @odd() attributes {nvvm.kernel} {
                llvm.call @elsewhere() : () -> ()
                llvm.return
              }
            }""")
        with pytest.raises(CompileError, match="functions without a body: elsewhere"):
            nvptx.ptx(module, ARCHS["sm_80"])


MATH = """
func.func @main(%x: tensor<?xf32>, %y: tensor<?xf64>) -> (tensor<?xf32>, tensor<?xf64>) {
  %0 = math.sin %x : tensor<?xf32>
  %1 = math.powf %0, %x : tensor<?xf32>
  %2 = math.log %1 : tensor<?xf32>
  %3 = math.exp %y : tensor<?xf64>
  return %2, %3 : tensor<?xf32>, tensor<?xf64>
}"""


@pytest.mark.skipif(cuda_tools.libdevice() is None, reason="there is no libdevice")
def test_other_math_is_linked():
    text = rlx.compile(MATH, "cuda:sm_80", cache=False).program.object_code.decode()
    assert "__nv_" not in text.replace("__nv_static", "") or ".extern" not in text
    assert ".extern .func" not in text


def test_other_math_without_the_library_is_an_error(monkeypatch):
    monkeypatch.setattr(cuda_tools, "libdevice", lambda: None)
    with pytest.raises(CompileError, match=r"__nv_\w+.*libdevice"):
        rlx.compile(MATH, "cuda:sm_80", cache=False)


def test_what_cannot_run_on_a_gpu_is_named():
    text = """
    func.func @main(%m: i64, %x: tensor<4xf32>) -> tensor<4xf32> {
      %n = arith.index_cast %m : i64 to index
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %0 = scf.for %i = %c0 to %n step %c1 iter_args(%y = %x) -> tensor<4xf32> {
        %1 = arith.addf %y, %y : tensor<4xf32>
        scf.yield %1 : tensor<4xf32>
      }
      return %0 : tensor<4xf32>
    }"""
    with pytest.raises(CompileError, match="not known before it runs"):
        rlx.compile(text, "cuda", cache=False)


def test_programs_are_cached(tmp_path):
    text = "func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> { return %x : tensor<4xf32> }"
    first = rlx.compile(text, "cuda", cache=tmp_path)
    compiler._memory.__init__()
    again = rlx.compile(text, "cuda", cache=tmp_path)
    assert "ptx" in first.timings and "ptx" not in again.timings
    assert again.program == first.program


# -- ptxas -----------------------------------------------------------------------------------------

MOST_SPILLED = 0


@needs_ptxas
@pytest.mark.parametrize(
    "arch",
    [
        "sm_80",
        "sm_90a",
        *(pytest.param(arch, marks=pytest.mark.slow) for arch in ("sm_86", "sm_89", "sm_90")),
    ],
)
def test_ptxas_takes_every_kind_of_plain_kernel(arch):
    program = rlx.compile(EVERYTHING, f"cuda:{arch}", cache=False).program
    made = cuda_tools.assemble(program.object_code.decode(), arch)
    assert not made.warnings
    assert {step.kernel for step in program.plan.steps} == set(made.kernels)
    for name, report in made.kernels.items():
        assert report.spill_stores + report.spill_loads <= MOST_SPILLED, name
        assert report.registers <= 128, name


@needs_ptxas
def test_memory_is_read_in_16_bytes():
    """The kernels that memory bounds."""
    program = rlx.compile(EVERYTHING, "cuda:sm_80", cache=False).program
    text = program.object_code.decode()
    bodies = {part.split("(")[0].strip(): part for part in text.split(".entry ")[1:]}
    for prefix in ("rlx_rms_norm_bf16", "rlx_layer_norm_bf16", "rlx_rope_bf16", "rlx_kv_append"):
        (body,) = (body for name, body in bodies.items() if name.startswith(prefix))
        assert "ld.global.v4.b32" in body and "st.global.v4.b32" in body, prefix
    glu = [body for body in bodies.values() if "ex2" in body or "fma.rn.f32" in body]
    assert any(body.count("ld.global.v4.b32") == 2 for body in glu)


@needs_ptxas
def test_ptxas_refuses():
    with pytest.raises(cuda_tools.AssemblyError, match="ptxas: "):
        cuda_tools.assemble(".version 8.0\n.target sm_80\nnonsense", "sm_80")


def test_no_ptxas(monkeypatch):
    monkeypatch.setattr(cuda_tools, "ptxas", lambda: None)
    with pytest.raises(cuda_tools.AssemblyError, match="there is no ptxas"):
        cuda_tools.assemble("", "sm_80")


def test_ptxas_is_found_in_cuda_home(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "ptxas"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert cuda_tools.ptxas() == str(tool)


# -- rlx-compile -----------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("RLX_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "f.mlir"
    path.write_text(
        "func.func @main(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {\n"
        "  %0 = arith.negf %x : tensor<?x8xf32>\n  return %0 : tensor<?x8xf32>\n}\n"
    )
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_ptx_and_a_manifest(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(source, "--target=cuda:sm_89", "-o", out) == 0
    assert capsys.readouterr().out.split() == [f"{out}/manifest.json", f"{out}/kernels.ptx"]
    text = (out / "kernels.ptx").read_text()
    assert ".target sm_89" in text and ".version 8.0\n" in text  # for drivers since CUDA 12.0
    manifest = json.loads((out / "manifest.json").read_text())
    (step,) = manifest["plan"]["steps"]
    assert step["kernel"] == "elementwise_0" and manifest["plan"]["arch"] == "sm_89"
    assert load(out).program.entry == "main"


@needs_ptxas
def test_a_cubin(source, tmp_path):
    out = tmp_path / "out"
    assert run(source, "--target=cuda:sm_120", "--emit=cubin", "--output", out) == 0
    assert (out / "kernels.cubin").read_bytes()[:4] == b"\x7fELF"
    # What is left of other code would not fit.
    assert run(source, "--target=cuda:sm_80", "--output", out) == 0
    assert not (out / "kernels.cubin").exists()


def test_an_object_file(source, tmp_path):
    assert run(source, "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "code.o").read_bytes()[:4] == b"\x7fELF"
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["plan"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target=cpu", "--emit=ptx"], "--emit=ptx: expected object for target 'cpu'"),
        (["--target=cuda", "--emit=object"], "expected ptx or cubin"),
        (["--target=cuda:sm_60"], "expected an architecture from sm_80 on"),
        (["--target=tpu"], "unknown target 'tpu'"),
        (["--dtype=bf16"], "--dtype is for checkpoints"),
    ],
)
def test_wrong_arguments(source, capsys, arguments, message):
    assert run(source, *arguments) == 1
    assert message in capsys.readouterr().err


def test_no_such_file(capsys):
    assert run("nowhere.mlir", "--target=cuda") == 1
    assert "no such file" in capsys.readouterr().err
