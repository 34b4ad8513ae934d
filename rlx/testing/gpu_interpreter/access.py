"""Ops on memrefs."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rlx.host import arith, ir
from rlx.testing.gpu_interpreter.memory import Buffer, KernelError, View, byte_view
from rlx.testing.gpu_interpreter.program import Compiler, Step, attribute, dtype_of, handles
from rlx.testing.gpu_interpreter.threads import Threads
from rlx.testing.gpu_interpreter.values import dense_values

DYNAMIC = ir.ShapedType.get_dynamic_size()


def is_shared(type_: ir.MemRefType) -> bool:
    return type_.memory_space is not None and (
        "workgroup" in str(type_.memory_space) or str(type_.memory_space).startswith("3")
    )


def row_major(shape: list[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def shared_view(threads: Threads, type_: ir.MemRefType, start: int) -> View:
    """Static shared memory."""
    offset = np.array([threads.block.base + start])
    shape = list(type_.shape)
    memory = threads.block.memory
    return View(memory, offset, tuple(shape), row_major(shape), dtype_of(type_), shared=True)


def size_of(type_: ir.MemRefType) -> int:
    return math.prod(type_.shape) * np.dtype(dtype_of(type_)).itemsize


@handles("gpu.dynamic_shared_memory")
def _dynamic_shared(c: Compiler, op: Any) -> Step:
    output, dtype = c.slot(op.results[0]), dtype_of(op.results[0].type)

    def run(threads: Threads) -> None:
        # Static shared memory lies behind the dynamic one here.
        size = threads.block.dynamic // np.dtype(dtype).itemsize
        offset = np.array([threads.block.base])
        threads.env[output] = View(threads.block.memory, offset, (size,), (1,), dtype, shared=True)

    return run


@handles("memref.get_global")
def _get_global(c: Compiler, op: Any) -> Step:
    type_, name = op.results[0].type, attribute(op, "name")
    if not is_shared(type_):
        return _global(c, op, name)
    if name not in c.shared_globals:
        c.shared_globals[name] = c.shared(size_of(type_), 1024)
    start, output = c.shared_globals[name], c.slot(op.results[0])

    def run(threads: Threads) -> None:
        threads.env[output] = shared_view(threads, type_, threads.block.dynamic_end + start)

    return run


def _global(c: Compiler, op: Any, name: str) -> Step:
    """A buffer of the module: constants, or zeros where nothing is said."""
    type_, output = op.results[0].type, c.slot(op.results[0])
    dtype = dtype_of(type_)
    (found,) = (
        other
        for other in c.module.regions[0].blocks[0].operations
        if other.operation.name == "memref.global" and attribute(other, "sym_name") == name
    )
    value = found.operation.attributes["initial_value"]
    array = c.globals.setdefault(name, np.zeros(tuple(type_.shape), dtype))
    if isinstance(value, ir.DenseElementsAttr):
        values = dense_values(value, dtype)
        array[...] = values if values.ndim == 0 else values.reshape(array.shape)
    data = byte_view(array)

    def run(threads: Threads) -> None:
        buffer = Buffer(data, 1, False, f"the global {name}")
        shape = list(type_.shape)
        threads.env[output] = View(buffer, np.zeros(1, int), tuple(shape), row_major(shape), dtype)

    return run


@handles("memref.alloca")
def _alloca(c: Compiler, op: Any) -> Step:
    type_, output = op.results[0].type, c.slot(op.results[0])
    if op.operands:
        raise NotImplementedError("memory on the stack of dynamic size")
    if is_shared(type_):
        start = c.shared(size_of(type_))

        def shared(threads: Threads) -> None:
            threads.env[output] = shared_view(threads, type_, threads.block.dynamic_end + start)

        return shared
    size = size_of(type_)

    def run(threads: Threads) -> None:
        data = np.full(size * threads.count, 0xFF, np.uint8)
        buffer = Buffer(data, 1, False, "memory of a thread")
        offset = np.arange(threads.count) * size
        shape = list(type_.shape)
        threads.env[output] = View(buffer, offset, tuple(shape), row_major(shape), dtype_of(type_))

    return run


def _integers(threads: Threads, slots: list[int], static: list[int]) -> list[Any]:
    """Mixed static and dynamic numbers; dynamic ones as arrays."""
    rest = iter(slots)
    return [threads.env[next(rest)] if n == DYNAMIC else n for n in static]


def _uniform(threads: Threads, slots: list[int], static: list[int], what: str) -> list[int]:
    """Mixed static and dynamic numbers, which are the same for all threads."""
    numbers = _integers(threads, slots, static)
    return [n if isinstance(n, int) else int(threads.uniform(n, what)) for n in numbers]


def _mixed(op: Any, dynamic: list[int]) -> tuple[list[list[int]], Callable[[Threads], Any]]:
    """Static offsets, sizes and strides of an op, and what reads all of them."""
    _, n_offsets, n_sizes, _ = attribute(op, "operandSegmentSizes")
    static = [list(attribute(op, f"static_{what}")) for what in ("offsets", "sizes", "strides")]
    offsets, rest = dynamic[:n_offsets], dynamic[n_offsets:]

    def read(threads: Threads) -> tuple[list[Any], list[int], list[int]]:
        return (
            _integers(threads, offsets, static[0]),
            _uniform(threads, rest[:n_sizes], static[1], "a size"),
            _uniform(threads, rest[n_sizes:], static[2], "a stride"),
        )

    return static, read


@handles("memref.view")
def _view(c: Compiler, op: Any) -> Step:
    source, shift, *sizes = c.inputs(op)
    type_, output = op.results[0].type, c.slot(op.results[0])
    dtype = dtype_of(type_)

    def run(threads: Threads) -> None:
        env = threads.env
        base = env[source]
        shape = _uniform(threads, sizes, list(type_.shape), "a size")
        end = env[shift] + math.prod(shape) * np.dtype(dtype).itemsize
        if (end > base.shape[0]).any():
            raise KernelError(
                f"{base.buffer.what}: a view ends at byte {int(end.max())} of {base.shape[0]}"
            )
        env[output] = View(
            base.buffer,
            base.offset + env[shift],
            tuple(shape),
            row_major(shape),
            dtype,
            base.shared,
        )

    return run


@handles("memref.subview")
def _subview(c: Compiler, op: Any) -> Step:
    source, *dynamic = c.inputs(op)
    (_, sizes, _), read = _mixed(op, dynamic)
    type_, output = op.results[0].type, c.slot(op.results[0])

    def run(threads: Threads) -> None:
        base = threads.env[source]
        at, shape, steps = read(threads)
        offset = base.offset
        for axis, (start, count, step) in enumerate(zip(at, shape, steps, strict=True)):
            last = start + (count - 1) * step
            if count and ((np.asarray(last) >= base.shape[axis]) & threads.mask).any():
                raise KernelError(f"{base.buffer.what}: a view past the end of axis {axis}")
            offset = offset + np.asarray(start) * base.strides[axis] * base.itemsize
        new = [s * b for s, b in zip(steps, base.strides, strict=True)]
        # Axes of size 1 may be dropped.
        kept, want = [], list(type_.shape)
        for axis in range(len(shape)):
            if want and (sizes[axis] == want[0] or (want[0] == DYNAMIC and sizes[axis] == DYNAMIC)):
                kept.append(axis)
                want.pop(0)
            elif shape[axis] != 1:
                raise NotImplementedError(f"subview to {type_}")
        threads.env[output] = replace(
            base,
            offset=np.atleast_1d(offset),
            shape=tuple(shape[i] for i in kept),
            strides=tuple(new[i] for i in kept),
        )

    return run


@handles("memref.reinterpret_cast")
def _reinterpret(c: Compiler, op: Any) -> Step:
    source, *dynamic = c.inputs(op)
    _, read = _mixed(op, dynamic)
    output = c.slot(op.results[0])

    def run(threads: Threads) -> None:
        base = threads.env[source]
        (at,), shape, steps = read(threads)
        offset = np.atleast_1d(base.origin + np.asarray(at) * base.itemsize)
        threads.env[output] = replace(base, offset=offset, shape=tuple(shape), strides=tuple(steps))

    return run


@handles("memref.extract_strided_metadata")
def _metadata(c: Compiler, op: Any) -> Step:
    source, (base, offset, *rest) = c.slot(op.operands[0]), c.outputs(op)
    rank = op.operands[0].type.rank

    def run(threads: Threads) -> None:
        env = threads.env
        view = env[source]
        env[base] = View(view.buffer, view.origin, (), (), view.dtype, view.shared)
        env[offset] = (view.offset - view.origin) // view.itemsize
        for slot, number in zip(rest, [*view.shape[:rank], *view.strides[:rank]], strict=True):
            env[slot] = np.array([number], np.int64)

    return run


@handles("memref.cast", "memref.memory_space_cast")
def _cast(c: Compiler, op: Any) -> Step:
    source, output = c.slot(op.operands[0]), c.slot(op.results[0])
    to = op.results[0].type
    want = list(to.shape) if isinstance(to, ir.MemRefType) else None

    def run(threads: Threads) -> None:
        view = threads.env[source]
        if want is not None and any(
            n not in (DYNAMIC, size) for n, size in zip(want, view.shape, strict=True)
        ):
            raise KernelError(f"{view.buffer.what}: shape {view.shape} is cast to {want}")
        threads.env[output] = view

    return run


@handles("memref.collapse_shape", "memref.expand_shape")
def _reshape(c: Compiler, op: Any) -> Step:
    source, *dynamic = c.inputs(op)
    output, want = c.slot(op.results[0]), list(op.results[0].type.shape)
    groups = [[int(i) for i in group] for group in attribute(op, "reassociation")]
    collapse = op.operation.name == "memref.collapse_shape"

    def run(threads: Threads) -> None:
        view = threads.env[source]
        shape: list[int] = []
        strides: list[int] = []
        if collapse:
            for group in groups:
                shape.append(math.prod(view.shape[i] for i in group))
                strides.append(view.strides[group[-1]] if group else 1)
        else:
            static = list(attribute(op, "static_output_shape") or want)
            sizes = _uniform(threads, dynamic, static, "a size")
            for axis, group in enumerate(groups):
                step = view.strides[axis]
                inner = []
                for i in reversed(group):
                    inner.append(step)
                    step *= sizes[i]
                shape += [sizes[i] for i in group]
                strides += inner[::-1]
        threads.env[output] = replace(view, shape=tuple(shape), strides=tuple(strides))

    return run


@handles("memref.dim")
def _dim(c: Compiler, op: Any) -> Step:
    source, axis = c.inputs(op)
    output = c.slot(op.results[0])

    def run(threads: Threads) -> None:
        env = threads.env
        which = int(threads.uniform(env[axis], "an axis"))
        env[output] = np.array([env[source].shape[which]], np.int64)

    return run


@handles("memref.extract_aligned_pointer_as_index")
def _pointer(c: Compiler, op: Any) -> Step:
    source, output = c.slot(op.operands[0]), c.slot(op.results[0])

    def run(threads: Threads) -> None:
        # Allocations lie at multiples of a large power of two.
        view = threads.env[source]
        threads.env[output] = view.offset.astype(np.int64)

    return run


def _alignment(op: Any) -> int | None:
    return attribute(op, "alignment")


@handles("memref.load", "vector.load")
def _load(c: Compiler, op: Any) -> Step:
    source, *indices = c.inputs(op)
    output, alignment = c.slot(op.results[0]), _alignment(op)
    type_ = op.results[0].type
    is_vector = isinstance(type_, ir.VectorType)
    if is_vector and type_.rank != 1:
        raise NotImplementedError("a load of a vector of rank other than 1")
    elements = type_.shape[0] if is_vector else 1
    dtype = dtype_of(type_)

    def run(threads: Threads) -> None:
        env = threads.env
        view = env[source]
        loaded = threads.load(view, [env[i] for i in indices], elements, alignment)
        env[output] = loaded if is_vector else loaded[:, 0]

    c.granule = min(c.granule, np.dtype(dtype).itemsize)
    return run


@handles("memref.store", "vector.store")
def _store(c: Compiler, op: Any) -> Step:
    value, target, *indices = c.inputs(op)
    alignment = _alignment(op)
    type_ = op.operands[0].type
    is_vector = isinstance(type_, ir.VectorType)

    def run(threads: Threads) -> None:
        env = threads.env
        values = env[value] if is_vector else env[value][:, None]
        threads.store(env[target], [env[i] for i in indices], values, alignment)

    c.granule = min(c.granule, np.dtype(dtype_of(type_)).itemsize)
    return run


@handles("vector.maskedload", "vector.maskedstore")
def _masked(c: Compiler, op: Any) -> Step:
    raise NotImplementedError("masked vectors: kernels test their bounds themselves")


_ATOMIC: dict[str, Callable[..., Any]] = {
    "addf": np.add,
    "addi": np.add,
    "maximumf": np.maximum,
    "maxnumf": np.fmax,
    "maxs": np.maximum,
    "mins": np.minimum,
    "andi": np.bitwise_and,
    "ori": np.bitwise_or,
    "assign": lambda old, new: new,
}


@handles("memref.atomic_rmw")
def _atomic(c: Compiler, op: Any) -> Step:
    value, target, *indices = c.inputs(op)
    output = c.slot(op.results[0])
    kind = arith.AtomicRMWKind(ir.IntegerAttr(op.attributes["kind"]).value).name
    if kind not in _ATOMIC:
        raise NotImplementedError(f"atomic {kind}")
    fn = _ATOMIC[kind]

    def run(threads: Threads) -> None:
        env = threads.env
        view = env[target]
        address = view.address([env[i] for i in indices], threads.mask)
        values = threads.spread(env[value])
        # Atomic accesses do not conflict with each other, just as reads do not.
        active = threads.mask
        view.buffer.note_read(address[active], view.itemsize, threads.thread[active], threads.epoch)
        memory = view.buffer.view(view.dtype)
        old = np.zeros(threads.count, view.dtype)
        for thread in np.nonzero(threads.mask)[0]:
            at = address[thread] // view.itemsize
            old[thread] = memory[at]
            memory[at] = fn(memory[at], values[thread])
        env[output] = old

    return run
