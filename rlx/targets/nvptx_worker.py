"""Kernels in the LLVM dialect to PTX: a process of its own, for LLVM ends processes on errors.

Reads a request as JSON from stdin, with ``mlir`` (the text of a module of `llvm.func`), ``arch``,
``ptx`` (its version, in LLVM's spelling), ``opt_level`` and ``library`` (the path of libdevice, or
null). Writes the answer as JSON to stdout: ``ptx``, or ``error``. Run by hand on a reproducer:

    python -m rlx.targets.nvptx_worker reproducer.json
"""

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]

_TRIPLE = "nvptx64-nvidia-cuda"
_LIBRARY_PREFIX = "__nv_"


def main() -> int:
    text = Path(sys.argv[1]).read_text() if len(sys.argv) > 1 else sys.stdin.read()
    request = json.loads(text)
    try:
        answer = {"ptx": _compile(request)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    json.dump(answer, sys.stdout)
    return 0


def _compile(request: dict[str, Any]) -> str:
    import llvmlite.binding as binding

    from rlx.targets.llvm_text import for_older_llvm

    text = _translate(request["mlir"])
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    level = request["opt_level"]
    machine = binding.Target.from_triple(_TRIPLE).create_target_machine(
        cpu=request["arch"], features=f"+{request['ptx']}", opt=level
    )
    module = _module(binding.parse_assembly(for_older_llvm(text)), machine)
    _link(binding, module, machine, request["library"])
    tuning = binding.create_pipeline_tuning_options(speed_level=level)
    passes = binding.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)
    return machine.emit_assembly(module)


def _translate(text: str) -> str:
    """The LLVM IR of the kernels."""
    from rlx.host import ir, llvm

    with ir.Context() as context, ir.Location.unknown(context):
        module = ir.Module.parse(text)
        return llvm.translate_module_to_llvmir(module.operation)


def _module(module: Any, machine: Any) -> Any:
    module.triple = _TRIPLE
    module.data_layout = str(machine.target_data)
    return module


def _link(binding: Any, module: Any, machine: Any, library: str | None) -> None:
    """Adds the functions of CUDA's math library that the module calls."""
    declared = [f.name for f in module.functions if f.is_declaration]
    needed = [name for name in declared if name.startswith(_LIBRARY_PREFIX)]
    unknown = [n for n in declared if n not in needed and not n.startswith("llvm.")]
    if unknown:
        raise ValueError(f"functions without a body: {', '.join(unknown)}")
    if not needed:
        return
    if library is None:
        raise ValueError(
            f"{', '.join(needed)}: these functions are in CUDA's libdevice.10.bc, which is not "
            "installed (set CUDA_HOME, or install the extra 'cuda')"
        )
    own = {f.name for f in module.functions if not f.is_declaration}
    module.link_in(_module(binding.parse_bitcode(Path(library).read_bytes()), machine))
    for function in module.functions:
        if not function.is_declaration and function.name not in own:
            function.linkage = "internal"


if __name__ == "__main__":
    sys.exit(main())
