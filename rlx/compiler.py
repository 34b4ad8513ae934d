"""`rlx.compile`: a module to a callable.

The way down is the target's list of stages (:mod:`rlx.targets`); :func:`lower` stops at any of
them. See :mod:`rlx.runtime.cache` for where compiled code is kept.
"""

import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlx import dtypes, targets
from rlx.diagnostics import CompileError, capture
from rlx.dialects import load_dialects
from rlx.dialects.source import parse
from rlx.fingerprint import fingerprint
from rlx.host import func, ir
from rlx.passes.export import WRITABLE
from rlx.passes.functions import Attributes, attributes_of, functions, is_public
from rlx.passes.lower_asserts import STATUS, messages_of
from rlx.passes.quantize_weights import GROUP, QUANTIZE, SCALES, VALUES
from rlx.passes.return_donated import aliases_of
from rlx.pipeline import Instrumentation, run_pipeline
from rlx.runtime import Executable, LoadError, Program, Spec
from rlx.runtime.cache import DiskCache, MemoryCache
from rlx.runtime.loader import Loaded
from rlx.targets.codegen import EXTERNAL_FUNCTIONS

__all__ = ["compile", "lower"]

Progress = Callable[[str], None]

_memory = MemoryCache()


def compile(
    source: Any,
    target: str | targets.Target = "cpu",
    entry: str | None = None,
    *,
    weights: Any = None,
    quantize: str | None = None,
    cache: bool | str | Path | DiskCache = True,
    instrumentation: Instrumentation | None = None,
    dump: str | Path | None = None,
    progress: Progress | None = None,
) -> Executable:
    """Compiles one function and returns it as a callable on arrays.

    Args:
        source: MLIR text, the path of a file with MLIR text or bytecode, an ``ir.Module`` (which
            is not changed), a ``ModelFlow`` or a ``BuiltModel``. The parameters of the latter two
            are bound.
        target: ``"cpu"``, perhaps with options as in ``"cpu{opt-level=1}"``, or a target object.
        entry: name of the function; by default the only public one, or else ``main``.
        weights: for a ``ModelFlow``: what its ``build`` takes.
        quantize: ``"int8"`` stores the matrices that activations are multiplied with as 8-bit
            integers with a scale per output channel; ``"int8{group=64}"`` with one per 64 elements
            in a row. Tables that are looked up in stay as they are. See `rlx-quantize-weights`.
        cache: whether to keep compiled code in memory and on disk, or where on disk.
        instrumentation: callbacks around every pass; with it nothing is taken from the cache.
        dump: a folder to write the IR after each stage to, as ``0_rlx.mlir`` and so on.
        progress: called with the name of each step as it begins.

    Raises:
        CompileError: the source is not valid, or cannot be compiled; carries diagnostics.
        TargetError: the target is unknown, or the kind of quantization is.
        TypeError: the source is none of the above.
    """
    chosen = targets.quantized(targets.get(target), quantize)
    clock = _Clock(progress)
    module, parameters = _load(source, weights, clock)
    function = _entry(module, entry)
    disk = _disk(cache)
    key = ""
    if cache is not False:
        clock.begin("cache")
        key = _key(module, function, chosen)
        found = _lookup(key, disk) if instrumentation is None and dump is None else None
        if found is not None:
            return _finish(Executable(*found), parameters, clock)
    program = _build(module, function, chosen, instrumentation, dump, clock)
    clock.begin("load")
    try:
        executable = Executable(program)
    except LoadError as error:
        raise CompileError(str(error)) from None
    if key:
        _memory.put(key, program, executable.loaded)
        if disk is not None:
            disk.put(key, program)
    return _finish(executable, parameters, clock)


def lower(
    source: Any,
    stage: str,
    target: str | targets.Target = "cpu",
    entry: str | None = None,
    *,
    weights: Any = None,
    quantize: str | None = None,
    instrumentation: Instrumentation | None = None,
) -> ir.Module:
    """The IR of ``source`` after a stage of the target's list, such as ``"linalg"``.

    Arguments and errors are those of :func:`compile`.
    """
    chosen = targets.quantized(targets.get(target), quantize)
    names = [known.name for known in chosen.stages()]
    if stage not in names:
        raise targets.TargetError(
            f"unknown stage '{stage}' of target '{chosen.name}'; known: {', '.join(names)}"
        )
    clock = _Clock(None)
    module, _ = _load(source, weights, clock)
    _isolate(module, _entry(module, entry))
    _descend(module, chosen, stage, instrumentation, None, clock)
    return module


class _Clock:
    """Times the steps, and tells who wants to know about them."""

    def __init__(self, progress: Progress | None):
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self._step: tuple[str, float] | None = None

    def begin(self, step: str) -> None:
        self.end()
        if self.progress is not None:
            self.progress(step)
        self._step = (step, time.perf_counter())

    def end(self) -> None:
        if self._step is not None:
            step, start = self._step
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start
            self._step = None


def _finish(executable: Executable, parameters: dict[str, Any] | None, clock: _Clock) -> Executable:
    if parameters is not None:
        clock.begin("bind")
        executable.bind(parameters)
    clock.end()
    executable.timings = clock.seconds
    return executable


# -- sources ---------------------------------------------------------------------------------------


def _load(source: Any, weights: Any, clock: _Clock) -> tuple[ir.Module, dict[str, Any] | None]:
    """A module of its own, in a context of its own, and the parameters, if it has them with it."""
    parameters: dict[str, Any] | None = None
    if hasattr(source, "build"):
        clock.begin("build")
        source = source.build({} if weights is None else weights)
    elif weights is not None:
        raise TypeError("weights are for a ModelFlow; bind the parameters of a compiled function")
    if hasattr(source, "module") and hasattr(source, "parameters"):
        parameters = dict(source.parameters)
        source = source.module
    clock.begin("parse")
    content, name, unregistered = _content(source)
    with ir.Context() as context, capture(context) as found:
        context.allow_unregistered_dialects = unregistered
        load_dialects(context)
        try:
            return parse(lambda c: ir.Module.parse(content, c), context), parameters
        except (ir.MLIRError, ValueError) as error:
            if isinstance(error, ir.MLIRError):
                found.add_mlir_error(error)
            raise CompileError(f"{name} is not valid MLIR", tuple(found.entries)) from None


def _content(source: Any) -> tuple[str | bytes, str, bool]:
    """Text or bytecode, what to call it, and whether it may hold unregistered ops."""
    if isinstance(source, str) and (
        "\n" in source or not (source.endswith((".mlir", ".mlirbc")) or Path(source).is_file())
    ):
        return source, "the source", False
    if isinstance(source, str | Path):
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise CompileError(f"cannot read {source}: {error.strerror}") from None
        if content.startswith(b"ML\xefR"):
            return content, str(source), False
        try:
            return content.decode(), str(source), False
        except UnicodeDecodeError:
            raise CompileError(f"{source} is neither MLIR text nor bytecode") from None
    if isinstance(source, ir.Module):
        bytecode = io.BytesIO()
        source.operation.write_bytecode(bytecode)
        return bytecode.getvalue(), "the module", source.context.allow_unregistered_dialects
    if hasattr(source, "operation") and hasattr(source, "body"):
        # A module of other bindings in the same process.
        return source.operation.get_asm(enable_debug_info=True), "the module", False
    raise TypeError(
        "expected MLIR text, a path, an ir.Module, a ModelFlow or a BuiltModel, "
        f"but got {type(source).__name__}"
    )


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


# -- signature -------------------------------------------------------------------------------------


def _signature(function: func.FuncOp) -> tuple[tuple[Spec, ...], tuple[Spec, ...]]:
    """What the function takes and returns, without the status that checks have added.

    Raises:
        CompileError: one of them has no counterpart among arrays and numbers.
    """
    arguments = tuple(
        _spec("argument", f"arg{number}", type_, attributes)
        for number, (type_, attributes) in enumerate(
            zip(function.type.inputs, attributes_of(function, "arg_attrs"), strict=True)
        )
        if STATUS not in attributes
    )
    results = tuple(
        _spec("result", f"result{number}", type_, attributes)
        for number, (type_, attributes) in enumerate(
            zip(function.type.results, attributes_of(function, "res_attrs"), strict=True)
        )
    )
    for kind, specs in (("argument", arguments), ("result", results)):
        names = [spec.name for spec in specs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise CompileError(f"two {kind}s are named '{twice[0]}'")
    return arguments, results


def _spec(kind: str, default: str, type_: ir.Type, attributes: Attributes) -> Spec:
    name = default
    if "rlx.name" in attributes:
        name = _expect(ir.StringAttr, attributes, "rlx.name", f"{kind} '{default}'").value
    where = f"{kind} '{name}'"
    tensor = isinstance(type_, ir.RankedTensorType)
    if tensor and type_.encoding is not None:
        raise CompileError(f"{where}: tensor encodings are not supported, found {type_}")
    element = str(type_.element_type if tensor else type_)
    supported = dtypes.NAMES if tensor else {**dtypes.NAMES, "index": None}
    if element not in supported:
        raise CompileError(
            f"{where}: expected a ranked tensor or a scalar of {', '.join(dtypes.NAMES)}, "
            f"but found {type_}"
        )
    spec = Spec(
        name,
        "i64" if element == "index" else element,
        tuple(None if type_.is_dynamic_dim(at) else size for at, size in enumerate(type_.shape))
        if tensor
        else (),
        scalar=not tensor,
        param="rlx.param" in attributes,
    )
    if "rlx.parts" in attributes:
        parts = _expect(ir.ArrayAttr, attributes, "rlx.parts", where)
        axis = _expect(ir.IntegerAttr, attributes, "rlx.parts_axis", where).value
        if QUANTIZE in attributes:
            what = _expect(ir.StringAttr, attributes, QUANTIZE, where).value
            if what not in (VALUES, SCALES):
                raise CompileError(
                    f"{where}: expected {QUANTIZE} '{VALUES}' or '{SCALES}', but found '{what}'"
                )
            spec = replace(spec, quantized=what)
        if GROUP in attributes:
            group = _expect(ir.IntegerAttr, attributes, GROUP, where).value
            if group < 1:
                raise CompileError(f"{where}: expected {GROUP} of at least 1, but found {group}")
            spec = replace(spec, group=group)
        if not 0 <= axis < (2 if spec.quantized else len(spec.shape)):
            raise CompileError(f"{where}: rlx.parts_axis {axis} is not an axis of {type_}")
        spec = replace(
            spec, parts=tuple(ir.StringAttr(part).value for part in parts), parts_axis=axis
        )
    if WRITABLE in attributes:
        spec = replace(spec, writable=_expect(ir.BoolAttr, attributes, WRITABLE, where).value)
    return spec


def _expect(kind: Any, attributes: Attributes, name: str, where: str) -> Any:
    value = attributes.get(name)
    if not isinstance(value, kind):
        raise CompileError(f"{where}: expected {name} to be a {kind.__name__}, but found {value}")
    return value


# -- cache -----------------------------------------------------------------------------------------


def _disk(cache: bool | str | Path | DiskCache) -> DiskCache | None:
    if isinstance(cache, DiskCache):
        return cache
    if cache is False:
        return None
    try:
        return DiskCache(None if cache is True else cache)
    except RuntimeError:  # no home
        return None


def _key(module: ir.Module, function: func.FuncOp, target: targets.Target) -> str:
    text = module.operation.get_asm(enable_debug_info=False)
    entry = ir.StringAttr(function.name).value
    parts = [fingerprint(), target.key, entry, text]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _lookup(key: str, disk: DiskCache | None) -> tuple[Program, Loaded] | None:
    if found := _memory.get(key):
        return found
    program = disk.get(key) if disk is not None else None
    if program is None:
        return None
    try:
        loaded = Loaded(program.object_code)
    except LoadError:
        return None
    _memory.put(key, program, loaded)
    return program, loaded


# -- the way down ----------------------------------------------------------------------------------


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


def _descend(
    module: ir.Module,
    target: targets.Target,
    last: str,
    instrumentation: Instrumentation | None,
    dump: str | Path | None,
    clock: _Clock,
    first: str = "",
) -> None:
    """Takes the module from after the stage ``first`` to after the stage ``last``."""
    stages = list(target.stages())
    names = [stage.name for stage in stages]
    begin = names.index(first) + 1 if first else 0
    for number in range(begin, names.index(last) + 1):
        stage = stages[number]
        clock.begin(stage.name)
        if stage.pipeline:
            run_pipeline(module, stage.pipeline, instrumentation)
        if dump is not None:
            Path(dump).mkdir(parents=True, exist_ok=True)
            Path(dump, f"{number}_{stage.name}.mlir").write_text(f"{module}\n")


def _build(
    module: ir.Module,
    function: func.FuncOp,
    target: targets.Target,
    instrumentation: Instrumentation | None,
    dump: str | Path | None,
    clock: _Clock,
) -> Program:
    entry = ir.StringAttr(function.name).value
    _signature(function)
    _isolate(module, function)
    symbol = ir.StringAttr(function.name).value
    # Passes on the rlx dialect may pack parameters; later ones only change how they are passed.
    _descend(module, target, "linalg", instrumentation, dump, clock)
    arguments, results = _signature(_find(module, symbol))
    messages = messages_of(module)
    _descend(module, target, "bufferized", instrumentation, dump, clock, "linalg")
    aliases = aliases_of(_find(module, symbol), len(results))
    results = tuple(replace(r, alias=a) for r, a in zip(results, aliases, strict=True))
    _descend(module, target, "llvm", instrumentation, dump, clock, "bufferized")
    clock.begin("object")
    code = target.object_code(module, symbol)
    return Program(code, entry, f"_mlir__mlir_ciface_{symbol}", arguments, results, messages)


def _find(module: ir.Module, name: str) -> func.FuncOp:
    return next(f for f in functions(module) if ir.StringAttr(f.name).value == name)
