"""Ops on vectors, and on what holds several values."""

from typing import Any

import numpy as np

from rlx.testing.gpu_interpreter.program import Compiler, Step, attribute, handles
from rlx.testing.gpu_interpreter.threads import Threads
from rlx.testing.gpu_interpreter.values import elementwise


@handles("vector.broadcast", "vector.splat")
def _broadcast(c: Compiler, op: Any) -> Step:
    shape = tuple(op.results[0].type.shape)

    def run(x: np.ndarray) -> np.ndarray:
        x = x.reshape(len(x), *[1] * (len(shape) - x.ndim + 1), *x.shape[1:])
        return np.broadcast_to(x, (len(x), *shape))

    return elementwise(run, c.inputs(op), c.slot(op.results[0]))


def _positions(c: Compiler, op: Any, first: int) -> tuple[list[int], list[int]]:
    dynamic = [c.slot(v) for v in list(op.operands)[first:]]
    return list(attribute(op, "static_position")), dynamic


@handles("vector.extract")
def _extract(c: Compiler, op: Any) -> Step:
    position, dynamic = _positions(c, op, 1)
    source, output = c.slot(op.operands[0]), c.slot(op.results[0])
    if not dynamic:
        at = (slice(None), *position)
        return elementwise(lambda x: x[at], [source], output)

    def run(threads: Threads) -> None:
        rest = iter(dynamic)
        value = threads.spread(threads.env[source])
        rows = np.arange(threads.count)
        index = [
            p if p >= 0 else np.where(threads.mask, threads.spread(threads.env[next(rest)]), 0)
            for p in position
        ]
        threads.env[output] = value[(rows, *index)]

    return run


@handles("vector.insert")
def _insert(c: Compiler, op: Any) -> Step:
    position, dynamic = _positions(c, op, 2)
    value, into, output = c.slot(op.operands[0]), c.slot(op.operands[1]), c.slot(op.results[0])

    def run(threads: Threads) -> None:
        env = threads.env
        target = env[into]
        if len(env[value]) > len(target) or dynamic:
            target = threads.spread(target)
        target = target.copy()
        if dynamic:
            rest = iter(dynamic)
            index = [
                p if p >= 0 else np.where(threads.mask, threads.spread(env[next(rest)]), 0)
                for p in position
            ]
            target[(np.arange(threads.count), *index)] = env[value]
        else:
            target[(slice(None), *position)] = env[value]
        env[output] = target

    return run


@handles("vector.from_elements")
def _from_elements(c: Compiler, op: Any) -> Step:
    shape = tuple(op.results[0].type.shape)

    def run(*items: np.ndarray) -> np.ndarray:
        stacked = np.stack(np.broadcast_arrays(*items), 1)
        return stacked.reshape(len(stacked), *shape)

    return elementwise(run, c.inputs(op), c.slot(op.results[0]))


@handles("vector.extract_strided_slice")
def _slice(c: Compiler, op: Any) -> Step:
    offsets, sizes = attribute(op, "offsets"), attribute(op, "sizes")
    at = (slice(None), *(slice(o, o + s) for o, s in zip(offsets, sizes, strict=True)))
    return elementwise(lambda x: x[at], c.inputs(op), c.slot(op.results[0]))


@handles("vector.insert_strided_slice")
def _insert_slice(c: Compiler, op: Any) -> Step:
    offsets, sizes = attribute(op, "offsets"), op.operands[0].type.shape
    lead = [slice(o, o + 1) for o in offsets[: len(offsets) - len(sizes)]]
    tail = offsets[len(offsets) - len(sizes) :]
    at = (slice(None), *lead, *(slice(o, o + s) for o, s in zip(tail, sizes, strict=True)))

    def run(value: np.ndarray, into: np.ndarray) -> np.ndarray:
        count = max(len(value), len(into))
        target = np.broadcast_to(into, (count, *into.shape[1:])).copy()
        target[at] = value.reshape(len(value), *[1] * len(lead), *value.shape[1:])
        return target

    return elementwise(run, c.inputs(op), c.slot(op.results[0]))


@handles("vector.shape_cast")
def _shape_cast(c: Compiler, op: Any) -> Step:
    shape = tuple(op.results[0].type.shape)
    return elementwise(lambda x: x.reshape(len(x), *shape), c.inputs(op), c.slot(op.results[0]))


@handles("vector.shuffle")
def _shuffle(c: Compiler, op: Any) -> Step:
    lanes = attribute(op, "mask")

    def run(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        count = max(len(a), len(b))
        both = [np.broadcast_to(x, (count, *x.shape[1:])) for x in (a, b)]
        return np.concatenate(both, 1)[:, lanes]

    return elementwise(run, c.inputs(op), c.slot(op.results[0]))


@handles("vector.interleave")
def _interleave(c: Compiler, op: Any) -> Step:
    def run(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        both = np.stack(np.broadcast_arrays(a, b), -1)
        return both.reshape(*both.shape[:-2], -1)

    return elementwise(run, c.inputs(op), c.slot(op.results[0]))


@handles("vector.deinterleave")
def _deinterleave(c: Compiler, op: Any) -> Step:
    source, outputs = c.slot(op.operands[0]), c.outputs(op)

    def run(threads: Threads) -> None:
        for start, output in enumerate(outputs):
            threads.env[output] = threads.env[source][..., start::2]

    return run


@handles("vector.step")
def _step(c: Compiler, op: Any) -> Step:
    value, output = np.arange(op.results[0].type.shape[0])[None], c.slot(op.results[0])
    return lambda threads: threads.env.__setitem__(output, value)


_REDUCTIONS = {
    "add": np.add,
    "mul": np.multiply,
    "maximumf": np.maximum,
    "minimumf": np.minimum,
    "maxnumf": np.fmax,
    "minnumf": np.fmin,
    "maxsi": np.maximum,
    "minsi": np.minimum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
}


@handles("vector.reduction")
def _reduction(c: Compiler, op: Any) -> Step:
    kind = str(op.attributes["kind"]).split("<")[-1].rstrip(">")
    fn = _REDUCTIONS[kind]

    def run(x: np.ndarray, *start: np.ndarray) -> np.ndarray:
        total = x[:, 0]
        for lane in range(1, x.shape[1]):
            total = fn(total, x[:, lane])
        return fn(total, start[0]) if start else total

    return elementwise(run, c.inputs(op), c.slot(op.results[0]))


@handles("llvm.extractvalue")
def _extract_value(c: Compiler, op: Any) -> Step:
    (position,) = attribute(op, "position")
    return elementwise(lambda x: x[position], c.inputs(op), c.slot(op.results[0]))


@handles("vector.to_elements")
def _to_elements(c: Compiler, op: Any) -> Step:
    source, outputs = c.slot(op.operands[0]), c.outputs(op)

    def run(threads: Threads) -> None:
        value = threads.env[source]
        flat = value.reshape(len(value), -1)
        for lane, output in enumerate(outputs):
            threads.env[output] = flat[:, lane]

    return run
