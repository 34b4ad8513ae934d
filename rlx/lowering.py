"""The way from a source to a program, over the stages of a target."""

from dataclasses import dataclass, replace
from pathlib import Path

from rlx import targets
from rlx.diagnostics import CompileError, capture
from rlx.dialects import load_dialects
from rlx.dialects.source import parse
from rlx.host import func, interrupts_wait, ir
from rlx.passes.functions import functions, is_public
from rlx.passes.lower_asserts import messages_of
from rlx.passes.return_donated import aliases_of
from rlx.pipeline import Instrumentation, run_pipeline
from rlx.runtime import Program, Spec
from rlx.signature import signature
from rlx.source import Source
from rlx.steps import Steps
from rlx.targets.codegen import EXTERNAL_FUNCTIONS

__all__ = ["build", "lower"]


def build(
    source: Source,
    target: targets.Target,
    entry: str | None,
    steps: Steps,
    instrumentation: Instrumentation | None = None,
    dump: str | Path | None = None,
) -> Program:
    """Compiles one function; arguments and errors are those of :func:`rlx.compile`."""
    steps.begin("parse")
    module = _parse(source)
    function = _entry(module, entry)
    name = ir.StringAttr(function.name).value
    signature(function)
    _isolate(module, function)
    symbol = ir.StringAttr(function.name).value
    way = _Way(module, target, steps, instrumentation, dump)
    # Passes on the rlx dialect may pack parameters; later ones only change how they are passed.
    way.descend("linalg")
    arguments, results = signature(_find(module, symbol))
    messages = messages_of(module)
    on_gpu = any(stage.name == "gpu" for stage in target.stages())
    way.descend("gpu" if on_gpu else "bufferized", "linalg")
    aliases = aliases_of(_find(module, symbol), len(results))
    results = tuple(replace(r, alias=a) for r, a in zip(results, aliases, strict=True))
    if on_gpu:
        return _gpu_program(way, name, _find(module, symbol), arguments, results)
    way.descend("llvm", "bufferized")
    steps.begin("object")
    code = target.object_code(module, symbol)
    return Program(code, name, f"_mlir__mlir_ciface_{symbol}", arguments, results, messages)


def _gpu_program(
    way: "_Way",
    name: str,
    function: func.FuncOp,
    arguments: tuple[Spec, ...],
    results: tuple[Spec, ...],
) -> Program:
    """A program of a module that has passed the stage ``"gpu"``."""
    from rlx.targets.launches import launches

    messages = list(messages_of(way.module))
    plan = launches(way.module, function, way.target.machine(), messages)
    symbol = ir.StringAttr(function.name).value
    way.descend("llvm", "gpu")
    way.steps.begin("ptx")
    code = way.target.object_code(way.module, symbol)
    return Program(code, name, "", arguments, results, tuple(messages), plan)


def lower(
    source: Source,
    target: targets.Target,
    entry: str | None,
    stage: str,
    steps: Steps,
    instrumentation: Instrumentation | None = None,
) -> ir.Module:
    """The IR after a stage; arguments and errors are those of :func:`rlx.lower`."""
    steps.begin("parse")
    module = _parse(source)
    _isolate(module, _entry(module, entry))
    _Way(module, target, steps, instrumentation, None).descend(stage)
    return module


@interrupts_wait()
def _parse(source: Source) -> ir.Module:
    """A module of its own, in a context of its own."""
    content = source.read()
    with ir.Context() as context, capture(context) as found:
        context.allow_unregistered_dialects = source.unregistered
        load_dialects(context)
        try:
            return parse(lambda c: ir.Module.parse(content, c), context)
        except (ir.MLIRError, ValueError) as error:
            if isinstance(error, ir.MLIRError):
                found.add_mlir_error(error)
            raise CompileError(f"{source.name} is not valid MLIR", tuple(found.entries)) from None


def _entry(module: ir.Module, name: str | None) -> func.FuncOp:
    """The function to compile."""
    known = {ir.StringAttr(f.name).value: f for f in functions(module)}
    defined = {key: f for key, f in known.items() if not f.is_external}
    public = [key for key, f in defined.items() if is_public(f)]
    if name is None:
        if len(public) == 1:
            return defined[public[0]]
        name = "main"
        if name not in public:
            listed = ", ".join(public) or "none"
            raise CompileError(
                f"expected one public function, or one named 'main', but found: {listed}"
            )
    if name not in defined:
        kind = "is declared but has no body" if name in known else "does not exist"
        raise CompileError(f"function '{name}' {kind}; found: {', '.join(defined) or 'none'}")
    return defined[name]


def _isolate(module: ir.Module, entry: func.FuncOp) -> None:
    """Leaves the entry as the only public function, and drops what it does not need."""
    with module.context:
        for function in functions(module):
            if function != entry:
                function.attributes["sym_visibility"] = ir.StringAttr.get("private")
        entry.attributes["sym_visibility"] = ir.StringAttr.get("public")
        for function in functions(module):
            name = ir.StringAttr(function.name).value
            if name in EXTERNAL_FUNCTIONS and not function.is_external:
                own = ir.StringAttr.get(f"rlx.{name}")
                ir.SymbolTable.replace_all_symbol_uses(name, own.value, module.operation)
                function.attributes["sym_name"] = own
    run_pipeline(module, "symbol-dce")


@dataclass(frozen=True)
class _Way:
    """The stages of a target on a module."""

    module: ir.Module
    target: targets.Target
    steps: Steps
    instrumentation: Instrumentation | None
    dump: str | Path | None

    def descend(self, last: str, first: str = "") -> None:
        """Takes the module from after the stage ``first`` to after the stage ``last``."""
        stages = list(self.target.stages())
        names = [stage.name for stage in stages]
        begin = names.index(first) + 1 if first else 0
        for number in range(begin, names.index(last) + 1):
            stage = stages[number]
            self.steps.begin(stage.name)
            if stage.pipeline:
                # Verifying after every pass takes longer than many passes do.
                hooks = self.instrumentation or Instrumentation(verify_each=False)
                run_pipeline(self.module, stage.pipeline, hooks)
                _verify(self.module, stage.name)
            if self.dump is not None:
                Path(self.dump).mkdir(parents=True, exist_ok=True)
                Path(self.dump, f"{number}_{stage.name}.mlir").write_text(f"{self.module}\n")


@interrupts_wait()
def _verify(module: ir.Module, stage: str) -> None:
    with capture(module.context) as found:
        try:
            module.operation.verify()
        except ir.MLIRError as error:
            found.add_mlir_error(error)
            message = f"the IR after stage '{stage}' is not valid"
            raise CompileError(message, tuple(found.entries)) from None


def _find(module: ir.Module, name: str) -> func.FuncOp:
    return next(f for f in functions(module) if ir.StringAttr(f.name).value == name)
