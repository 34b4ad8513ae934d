"""`rlx.compile`: a module to a callable.

The way down is the target's list of stages (:mod:`rlx.targets`); :func:`lower` stops at any of
them. What was compiled before, by this process or by another, is found without MLIR: the bindings
are imported when something has to be compiled. See :mod:`rlx.runtime.cache` for where compiled code
is kept.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlx import targets
from rlx.diagnostics import CompileError
from rlx.fingerprint import fingerprint
from rlx.runtime import Executable, LoadError, Program
from rlx.runtime.cache import DiskCache, MemoryCache
from rlx.runtime.loader import Loaded
from rlx.source import Source, open_source
from rlx.steps import Progress, Steps

if TYPE_CHECKING:
    from rlx.host import ir
    from rlx.pipeline import Instrumentation

__all__ = ["compile", "lower"]

_memory = MemoryCache()


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Keeps Python from looking for cycles: a compilation makes much that lives until its end."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collections()
def compile(
    source: Any,
    target: str | targets.Target = "cpu",
    entry: str | None = None,
    *,
    weights: Any = None,
    quantize: str | None = None,
    threads: int | None = None,
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
        threads: how many threads to use, in place of what the target says; 0 for all cores that the
            process may use, or as many as ``OMP_NUM_THREADS`` says, found out at run time.
        cache: whether to keep compiled code in memory and on disk, or where on disk.
        instrumentation: callbacks around every pass; with it nothing is taken from the cache.
        dump: a folder to write the IR after each stage to, as ``0_rlx.mlir`` and so on.
        progress: called with the name of each step as it begins.

    Raises:
        CompileError: the source is not valid, or cannot be compiled; carries diagnostics.
        TargetError: the target is unknown, or the kind of quantization is.
        TypeError: the source is none of the above.
    """
    chosen = targets.quantized(targets.threaded(targets.get(target), threads), quantize)
    steps = Steps(progress)
    opened = open_source(source, weights, steps)
    disk = _disk(cache)
    key = ""
    if cache is not False:
        steps.begin("cache")
        key = _key(opened, entry, chosen)
        found = _lookup(key, disk) if instrumentation is None and dump is None else None
        if found is not None:
            return _finish(_executable(*found), opened, steps)
    steps.begin("import")
    from rlx import lowering

    program = lowering.build(opened, chosen, entry, steps, instrumentation, dump)
    steps.begin("load")
    try:
        executable = _executable(program)
    except LoadError as error:
        raise CompileError(str(error)) from None
    if key:
        _memory.put(key, program, getattr(executable, "loaded", None))
        if disk is not None:
            disk.put(key, program)
    return _finish(executable, opened, steps)


@_without_collections()
def lower(
    source: Any,
    stage: str,
    target: str | targets.Target = "cpu",
    entry: str | None = None,
    *,
    weights: Any = None,
    quantize: str | None = None,
    threads: int | None = None,
    instrumentation: Instrumentation | None = None,
) -> ir.Module:
    """The IR of ``source`` after a stage of the target's list, such as ``"linalg"``.

    Arguments and errors are those of :func:`compile`.
    """
    from rlx import lowering

    chosen = targets.quantized(targets.threaded(targets.get(target), threads), quantize)
    names = [known.name for known in chosen.stages()]
    if stage not in names:
        raise targets.TargetError(
            f"unknown stage '{stage}' of target '{chosen.name}'; known: {', '.join(names)}"
        )
    steps = Steps()
    opened = open_source(source, weights, steps)
    return lowering.lower(opened, chosen, entry, stage, steps, instrumentation)


def _executable(program: Program, loaded: Loaded | None = None) -> Any:
    """What runs a program: on the CPU, or on a GPU."""
    if program.plan is None:
        return Executable(program, loaded)
    from rlx.runtime.cuda import CudaExecutable

    return CudaExecutable(program)


def _finish(executable: Any, source: Source, steps: Steps) -> Executable:
    if source.parameters is not None:
        steps.begin("bind")
        executable.bind(source.parameters)
    steps.end()
    executable.timings = steps.seconds
    return executable


def _disk(cache: bool | str | Path | DiskCache) -> DiskCache | None:
    if isinstance(cache, DiskCache):
        return cache
    if cache is False:
        return None
    try:
        return DiskCache(None if cache is True else cache)
    except RuntimeError:  # no home
        return None


def _key(source: Source, entry: str | None, target: targets.Target) -> str:
    """Two compilations with equal keys give the same program."""
    digest = hashlib.sha256()
    identity = source.identity
    content = identity.encode() if isinstance(identity, str) else identity
    flags = f"{source.unregistered} {'' if entry is None else 'entry=' + entry}"
    for part in (fingerprint(), target.key, flags):
        digest.update(part.encode() + b"\0")
    digest.update(content)
    return digest.hexdigest()


def _lookup(key: str, disk: DiskCache | None) -> tuple[Program, Loaded | None] | None:
    if found := _memory.get(key):
        return found
    program = disk.get(key) if disk is not None else None
    if program is None:
        return None
    try:
        loaded = Loaded(program.object_code) if program.plan is None else None
    except LoadError:
        return None
    _memory.put(key, program, loaded)
    return program, loaded
