"""What ptxas makes of the tensor-core kernels: registers, spills, warnings, instructions.

Skipped where there is no ptxas; instructions are looked at where there is nvdisasm, too.
"""

import re
import subprocess
from collections import Counter

import pytest

from rlx.host import ir
from rlx.pipeline import run_pipeline
from rlx.schedules.cuda import attention, attention_wgmma, dequant_mma, matmul, matmul_wgmma
from rlx.schedules.cuda.arch import ARCHS
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.output import Output
from rlx.schedules.cuda.softmax import Turn
from rlx.targets import cuda_tools, nvptx
from rlx.targets.cuda import CudaTarget

PTXAS = cuda_tools.ptxas()
MOST_SPILLED = 16
"""Bytes that a kernel may write and read where registers do not suffice: heads of 192, on sm_80."""

pytestmark = pytest.mark.skipif(PTXAS is None, reason="there is no ptxas")


def assemble(emit, name):
    """Makes a module with ``emit(kernels)``, and machine code for an architecture."""
    with ir.Context(), ir.Location.unknown():
        module = ir.Module.create()
        emit(Kernels(module.operation))
        module.operation.verify()
        stages = {stage.name: stage.pipeline for stage in CudaTarget(name).stages()}
        run_pipeline(module, "expand-strided-metadata,lower-affine")
        for stage in ("nvvm", "llvm"):
            run_pipeline(module, stages[stage])
        made = cuda_tools.assemble(nvptx.ptx(module, ARCHS[name]), name)
    assert not made.warnings
    for kernel, report in made.kernels.items():
        spilled = report.spill_stores + report.spill_loads
        assert spilled <= MOST_SPILLED, f"{kernel}: {report}"
    return made


def instructions(made, tmp_path):
    """How often each instruction occurs, by kernel; None without nvdisasm."""
    nvdisasm = cuda_tools.tool("nvdisasm")
    if nvdisasm is None:
        return None
    path = tmp_path / "kernels.cubin"
    path.write_bytes(made.cubin)
    text = subprocess.run(
        [nvdisasm, "-c", str(path)], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, Counter] = {}
    kernel = ""
    for line in text.splitlines():
        if match := re.match(r"\s*\.section\s+\.text\.([^,\s]+)", line):
            kernel = match[1]
        elif match := re.search(r"\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)", line):
            opcode = match[1]
            counts = found.setdefault(kernel, Counter())
            counts[opcode] += 1
            counts[opcode.split(".")[0]] += 1
    return found


def problem(dims, **attrs):
    return attention.Problem("bf16", 8, 4, dims, dims, scale=dims**-0.5, **attrs)


def emit_attention(arch, *dims, rows=None, **attrs):
    def emit(kernels):
        for size in dims:
            found = problem(size, **attrs)
            attention.emit_kernel(kernels, found, attention.parameters(found, arch, rows))

    return emit


@pytest.mark.parametrize(("name", "dims"), [("sm_80", (128,)), ("sm_86", (256,)), ("sm_89", (64,))])
def test_attention(name, dims, tmp_path):
    look_at_attention(name, dims, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sm_80", "sm_86", "sm_89", "sm_90", "sm_90a"])
def test_all_attention(name, tmp_path):
    look_at_attention(name, (64, 80, 128, 192, 256, 512), tmp_path)


def look_at_attention(name, dims, tmp_path):
    made = assemble(emit_attention(ARCHS[name], *dims, causal=True), name)
    assert len(made.kernels) == len(dims)
    counts = instructions(made, tmp_path)
    for kernel in counts or ():
        assert counts[kernel]["HMMA.16816.F32.BF16"] >= 64
        for opcode in ("LDSM", "LDGSTS", "MUFU.EX2"):
            assert counts[kernel][opcode] >= 16


@pytest.mark.slow
def test_attention_with_everything():
    mask = "memref<?x1x?x?xf32, strided<[?, ?, ?, 1], offset: ?>>"
    attrs = {"causal": True, "left": 100, "softcap": 50.0, "mask": mask, "lengths": "i32"}
    made = assemble(emit_attention(ARCHS["sm_80"], 128, **attrs), "sm_80")
    assert len(made.kernels) == 1


@pytest.mark.parametrize(
    "dims", [128, *(pytest.param(n, marks=pytest.mark.slow) for n in (64, 80, 192, 256))]
)
def test_attention_on_hopper(dims, tmp_path):
    look_at_hopper(tmp_path, dims, causal=True)


@pytest.mark.slow
@pytest.mark.parametrize("dims", [64, 128, 192, 256])
def test_attention_with_everything_on_hopper(dims, tmp_path):
    mask = "memref<?x1x?x?xf32, strided<[?, ?, ?, 1], offset: ?>>"
    turn = Turn(dims, "bf16", interleaved=True, positions="memref<?x?xi64>")
    look_at_hopper(tmp_path, dims, left=100, softcap=50.0, mask=mask, lengths="i32", turn=turn)


def look_at_hopper(tmp_path, dims, **attrs):
    def emit(kernels):
        found = problem(dims, **attrs)
        attention_wgmma.emit_kernel(kernels, found, attention_wgmma.parameters(found))

    made = assemble(emit, "sm_90a")
    assert len(made.kernels) == 1
    counts = instructions(made, tmp_path)
    for kernel in counts or ():
        assert counts[kernel]["HGMMA"] >= 12
        assert counts[kernel]["UTMALDG.4D"] >= 3
        assert counts[kernel]["USETMAXREG"] == 2


@pytest.mark.parametrize("transposed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_matmul_on_hopper(transposed, tmp_path):
    def emit(kernels):
        p = matmul_wgmma.parameters(4096)
        matmul_wgmma.emit_kernel(kernels, Output(ir.BF16Type.get()), transposed, p)

    made = assemble(emit, "sm_90a")
    assert len(made.kernels) == 1
    counts = instructions(made, tmp_path)
    for kernel in counts or ():
        assert counts[kernel]["HGMMA"] == 4
        assert counts[kernel]["UTMALDG.2D"] >= 2


def test_decoding(tmp_path):
    made = assemble(emit_attention(ARCHS["sm_80"], 128, rows=4, lengths="i32"), "sm_80")
    assert len(made.kernels) == 2  # with the one that merges
    counts = instructions(made, tmp_path)
    for kernel in counts or ():
        assert kernel.endswith("merge") or counts[kernel]["LDGSTS"] >= 16


MANY = [(1, True), (64, False), (None, True)]


@pytest.mark.parametrize("cases", [MANY[2:], pytest.param(MANY[:2], marks=pytest.mark.slow)])
def test_matmul(cases, tmp_path):
    def emit(kernels):
        for rows, transposed in cases:
            p = matmul.parameters(rows)
            matmul.emit_kernel(kernels, Output(ir.F16Type.get()), transposed, p)

    made = assemble(emit, "sm_80")
    assert len(made.kernels) == len(cases)
    counts = instructions(made, tmp_path)
    for kernel in counts or ():
        assert counts[kernel]["HMMA.16816.F32"] >= 16
        assert counts[kernel]["LDSM"] >= 8
        assert counts[kernel]["LDGSTS"] >= 8


QUANTIZED = [(1, True, 128), (64, False, 0), (None, False, 128), (None, True, 0)]


@pytest.mark.parametrize(
    "cases", [QUANTIZED[3:], pytest.param(QUANTIZED[:3], marks=pytest.mark.slow)]
)
def test_dequant_matmul(cases, tmp_path):
    def emit(kernels):
        for rows, transposed, group in cases:
            p = dequant_mma.parameters(rows)
            output = Output(ir.BF16Type.get())
            dequant_mma.emit_kernel(kernels, output, transposed, group, p)

    made = assemble(emit, "sm_80")
    assert len(made.kernels) == len(cases)
    counts = instructions(made, tmp_path)
    for kernel in counts or ():
        assert counts[kernel]["HMMA.16816.F32.BF16"] >= 16
        assert counts[kernel]["LDGSTS"] >= 8
        assert counts[kernel]["I2F"] < 8  # integers become floats without conversions
