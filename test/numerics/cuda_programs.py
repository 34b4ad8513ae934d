"""Whole programs on a simulated GPU: the plan, the bytes of parameters, and the kernels."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from harness import assert_close, module_text, reference

import rlx
from rlx.host import ir
from rlx.runtime.cuda import CudaExecutable
from rlx.targets.cuda import CudaTarget
from rlx.testing.simulated_gpu import SimulatedGpu


@dataclass(frozen=True)
class WithoutCode(CudaTarget):
    """A target that ends at the gpu dialect, which is what the interpreter runs."""

    def stages(self):
        return tuple(
            replace(stage, pipeline="") if stage.name in ("nvvm", "llvm") else stage
            for stage in super().stages()
        )

    def object_code(self, module, function):
        return b""


def program(source, arch="sm_80", **options):
    """An executable on a simulated GPU, and that GPU."""
    with tempfile.TemporaryDirectory() as folder:
        target = WithoutCode(arch)
        compiled = rlx.compile(source, target, cache=False, dump=folder, **options).program
        (text,) = (path.read_text() for path in Path(folder).glob("*_gpu.mlir"))
    with ir.Context(), ir.Location.unknown():
        module = ir.Module.parse(text)
    number = int(arch[3:].rstrip("a"))
    gpu = SimulatedGpu(module, (number // 10, number % 10))
    return CudaExecutable(compiled, gpu=gpu), gpu


def run(op, *operands, dynamic=(), arch="sm_80", **attrs):
    """What a GPU would compute."""
    text, arrays = module_text(op, operands, dynamic, **attrs)
    executable, gpu = program(text, arch)
    before = [array.copy() for array in arrays]
    result = executable(*arrays)
    for array, old in zip(arrays, before, strict=True):
        assert array.tobytes() == old.tobytes(), "an argument was changed"
    return result, gpu


def check(op, *operands, dynamic=(), tolerance=None, arch="sm_80", **attrs):
    """Compares what a GPU would compute with the op's reference; returns names of kernels."""
    actual, gpu = run(op, *operands, dynamic=dynamic, arch=arch, **attrs)
    assert_close(actual, reference(op, *operands, **attrs), tolerance)
    return gpu.launched
