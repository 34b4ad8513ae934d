"""`rlx.compile`: a module to a callable."""

import tempfile
from pathlib import Path
from typing import Any

from rlx import dtypes
from rlx.diagnostics import CompileError
from rlx.dialects import load_dialects
from rlx.host import execution_engine, func, ir
from rlx.pipeline import run_pipeline
from rlx.runtime.executable import Executable
from rlx.runtime.program import Program, Spec

__all__ = ["compile"]

_PIPELINE = (
    "canonicalize,cse,convert-rlx-to-linalg,canonicalize,cse,"
    "one-shot-bufferize{function-boundary-type-conversion=identity-layout-map "
    "bufferize-function-boundaries},buffer-deallocation-pipeline,convert-bufferization-to-memref,"
    "func.func(convert-linalg-to-loops),convert-scf-to-cf,expand-strided-metadata,lower-affine,"
    "arith-expand{include-bf16=true},convert-math-to-llvm,convert-math-to-libm,convert-to-llvm,reconcile-unrealized-casts,"
    "canonicalize,cse"
)


def compile(source: Any, target: str = "cpu", entry: str | None = None) -> Executable:
    """Compiles one function of a module for the CPU."""
    with ir.Context() as context, ir.Location.unknown():
        load_dialects(context)
        if isinstance(source, str | Path) and "\n" not in str(source) and Path(source).exists():
            source = Path(source).read_text()
        module = ir.Module.parse(str(source))
        function = _entry(module, entry)
        name = function.name.value
        names = [
            ir.StringAttr(a["rlx.name"]).value if "rlx.name" in a else str(i)
            for i, a in enumerate(function.arg_attrs)
        ]
        arguments = tuple(_spec(n, t) for n, t in zip(names, function.type.inputs, strict=True))
        results = tuple(_spec("", t) for t in function.type.results)
        function.attributes["llvm.emit_c_interface"] = ir.UnitAttr.get()
        attrs = []
        for a in function.arg_attrs:
            fields = (
                {k: a[k] for k in a}
                if not isinstance(a, ir.DictAttr)
                else {n.name: n.attr for n in a}
            )
            fields.setdefault("bufferization.writable", ir.BoolAttr.get(False))
            attrs.append(ir.DictAttr.get(fields))
        if attrs:
            function.arg_attrs = ir.ArrayAttr.get(attrs)
        run_pipeline(module, _PIPELINE)
        engine = execution_engine.ExecutionEngine(module, opt_level=3, enable_pic=True)
        symbol = f"_mlir__mlir_ciface_{name}"
        engine.raw_lookup(f"_mlir_ciface_{name}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "code.o")
            engine.dump_to_object_file(str(path))
            code = path.read_bytes()
    return Executable(Program(code, name, symbol, arguments, results))


def _spec(name: str, type: ir.Type) -> Spec:
    dims = tuple(None if d < 0 else d for d in type.shape)
    dtypes.from_mlir(type.element_type)
    return Spec(name, str(type.element_type), dims)


def _entry(module: ir.Module, entry: str | None) -> func.FuncOp:
    functions = [op for op in module.body.operations if isinstance(op, func.FuncOp)]
    for f in functions:
        if entry in (None, f.name.value) and not f.is_external:
            return f
    raise CompileError("no function to compile")
