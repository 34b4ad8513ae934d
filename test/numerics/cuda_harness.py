"""Compiles one op for a GPU, and runs its kernels in the interpreter."""

import numpy as np
from harness import assert_close, module_text, reference

import rlx
from rlx.host import ir
from rlx.pipeline import run_pipeline
from rlx.targets.cuda import CudaTarget
from rlx.testing.gpu_interpreter import run_function


def kernels_of(text, arch="sm_80"):
    """A module whose `main` launches kernels, in the gpu dialect."""
    module = ir.Module.parse(text)
    for stage in CudaTarget(arch).stages():
        if stage.pipeline:
            run_pipeline(module, stage.pipeline)
        if stage.name == "gpu":
            return module
    raise AssertionError


def names_of(module):
    """Names of the kernels of a module."""
    (container,) = (op for op in module.body.operations if op.operation.name == "gpu.module")
    functions = container.regions[0].blocks[0].operations
    return [ir.StringAttr(f.attributes["sym_name"]).value for f in functions]


def run(op, *operands, kernel=None, arch="sm_80", dynamic=(), **attrs):
    """What a GPU would compute.

    Args:
        kernel: what the name of a kernel must begin with.
    """
    text, arrays = module_text(op, operands, dynamic, **attrs)
    with ir.Context() as context, ir.Location.unknown():
        rlx.load_dialects(context)
        module = kernels_of(text, arch)
        names = names_of(module)
        assert kernel is None or any(name.startswith(kernel) for name in names), names
        (actual,) = run_function(module, "main", arrays)
    return np.asarray(actual)


def check(op, *operands, kernel=None, arch="sm_80", dynamic=(), tolerance=None, **attrs):
    """Compares what a GPU would compute with the op's reference."""
    actual = run(op, *operands, kernel=kernel, arch=arch, dynamic=dynamic, **attrs)
    assert_close(actual, reference(op, *operands, **attrs), tolerance)
