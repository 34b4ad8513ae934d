"""Control flow, and who a thread is."""

import re
from collections.abc import Generator
from typing import Any

import numpy as np

from rlx.host import ir
from rlx.testing.gpu_interpreter.memory import KernelError
from rlx.testing.gpu_interpreter.program import Code, Compiler, Step, attribute, handles
from rlx.testing.gpu_interpreter.threads import Threads, Wait
from rlx.testing.gpu_interpreter.values import choose


def _merge(mask: np.ndarray, new: Any, old: Any) -> Any:
    if new is old or old is None:
        return new
    return choose(mask, new, old)


def _same(value: np.ndarray, mask: np.ndarray) -> Any:
    """The value that all active threads share, or None."""
    if len(value) == 1:
        return value[0]
    active = value[mask]
    return active[0] if (active == active[0]).all() else None


@handles("scf.for")
def _for(c: Compiler, op: Any) -> Step:
    low, high, step, *inits = c.inputs(op)
    block = op.regions[0].blocks[0]
    counter, *carried = [c.slot(a) for a in block.arguments]
    body, results = c.block(block), c.outputs(op)

    def run(threads: Threads) -> Generator[Wait, None, None]:
        env = threads.env
        bounds = [env[slot] for slot in (low, high, step)]
        values = [env[slot] for slot in inits]
        same = [_same(b, threads.mask) for b in bounds]
        if all(b is not None for b in same):
            if same[2] <= 0:
                raise KernelError(f"a loop with step {same[2]}")
            for i in range(int(same[0]), int(same[1]), int(same[2])):
                env[counter] = np.array([i], bounds[0].dtype)
                for slot, value in zip(carried, values, strict=True):
                    env[slot] = value
                values = yield from body.run(threads)
        else:
            outer, at = threads.mask, threads.spread(bounds[0])
            while (active := outer & (at < bounds[1])).any():
                threads.activate(active)
                env[counter] = at
                for slot, value in zip(carried, values, strict=True):
                    env[slot] = value
                new = yield from body.run(threads)
                values = [_merge(active, n, v) for n, v in zip(new, values, strict=True)]
                at = at + bounds[2]
            threads.activate(outer)
        for slot, value in zip(results, values, strict=True):
            env[slot] = value

    return run


@handles("scf.while")
def _while(c: Compiler, op: Any) -> Step:
    inits = c.inputs(op)
    before, after = (region.blocks[0] for region in op.regions)
    arguments = [c.slot(a) for a in before.arguments]
    passed = [c.slot(a) for a in after.arguments]
    test, body = c.block(before, ("scf.condition",)), c.block(after)
    results = c.outputs(op)

    def run(threads: Threads) -> Generator[Wait, None, None]:
        env = threads.env
        outer = active = threads.mask
        values: list[Any] = [env[slot] for slot in inits]
        final: list[Any] = [None] * len(results)
        while True:
            for slot, value in zip(arguments, values, strict=True):
                env[slot] = value
            condition, *out = yield from test.run(threads)
            final = [_merge(active, new, old) for new, old in zip(out, final, strict=True)]
            active = active & condition
            if not active.any():
                break
            threads.activate(active)
            for slot, value in zip(passed, out, strict=True):
                env[slot] = value
            new = yield from body.run(threads)
            values = [_merge(active, n, v) for n, v in zip(new, values, strict=True)]
        threads.activate(outer)
        for slot, value in zip(results, final, strict=True):
            env[slot] = value

    return run


@handles("scf.if")
def _if(c: Compiler, op: Any) -> Step:
    condition = c.slot(op.operands[0])
    branches = [c.block(r.blocks[0]) if len(r.blocks) else Code([], []) for r in op.regions]
    results = c.outputs(op)

    def run(threads: Threads) -> Generator[Wait, None, None]:
        env, outer = threads.env, threads.mask
        taken = env[condition]
        same = _same(taken, outer)
        if same is not None:
            values = yield from branches[0 if same else 1].run(threads)
        else:
            threads.activate(outer & taken)
            first = yield from branches[0].run(threads)
            threads.activate(outer & ~taken)
            second = yield from branches[1].run(threads)
            threads.activate(outer)
            values = [choose(taken, a, b) for a, b in zip(first, second, strict=True)]
        for slot, value in zip(results, values, strict=True):
            env[slot] = value

    return run


# -- unstructured control flow ---------------------------------------------------------------------


class Region:
    """Blocks with branches. Threads wait for each other in the earliest block that any is in."""

    def __init__(self, c: Compiler, region: ir.Region):
        blocks = list(region.blocks)
        self.single = len(blocks) == 1
        ends = ("cf.br", "cf.cond_br", "func.return", "llvm.return")
        self.codes = [c.block(block, ends) for block in blocks]
        self.jumps = []
        for block in blocks:
            op = block.operations[len(block.operations) - 1]
            targets = []
            if op.operation.name in ("cf.br", "cf.cond_br"):
                for successor in op.operation.successors:
                    number = next(i for i, b in enumerate(blocks) if b == successor)
                    targets.append((number, [c.slot(a) for a in successor.arguments]))
            sizes = attribute(op, "operandSegmentSizes")
            self.jumps.append((targets, sizes))

    def run(self, threads: Threads) -> Generator[Wait, None, list[Any]]:
        if self.single:
            results = yield from self.codes[0].run(threads)
            return results
        env, outer = threads.env, threads.mask
        done = len(self.codes)
        place = np.where(outer, 0, done)
        while (now := int(place.min())) < done:
            mask = place == now
            threads.activate(mask)
            values = yield from self.codes[now].run(threads)
            targets, sizes = self.jumps[now]
            if not targets:
                place = np.where(mask, done, place)
                continue
            if len(targets) == 1:
                parts = [(mask, targets[0], values)]
            else:
                condition, rest = values[0], values[1:]
                split = sizes[1]
                parts = [
                    (mask & condition, targets[0], rest[:split]),
                    (mask & ~condition, targets[1], rest[split:]),
                ]
            for taken, (number, slots), arguments in parts:
                if not taken.any():
                    continue
                place = np.where(taken, number, place)
                merged = [
                    _merge(taken, new, env[slot])
                    for slot, new in zip(slots, arguments, strict=True)
                ]
                for slot, value in zip(slots, merged, strict=True):
                    env[slot] = value
        threads.activate(outer)
        return []


# -- places ----------------------------------------------------------------------------------------


def _axis(op: Any) -> int:
    found = re.search(r"dim ([xyz])", str(op.attributes["dimension"]))
    assert found
    return "xyz".index(found.group(1))


@handles("gpu.thread_id")
def _thread_id(c: Compiler, op: Any) -> Step:
    axis, output = _axis(op), c.slot(op.results[0])

    def run(threads: Threads) -> None:
        size, ids = threads.block.size, threads.ids
        for before in range(axis):
            ids = ids // size[before]
        threads.env[output] = ids % size[axis]

    return run


@handles("gpu.block_id", "gpu.block_dim", "gpu.grid_dim")
def _block(c: Compiler, op: Any) -> Step:
    axis, output = _axis(op), c.slot(op.results[0])
    what = {"gpu.block_id": "index", "gpu.block_dim": "size", "gpu.grid_dim": "grid"}
    field = what[op.operation.name]

    def run(threads: Threads) -> None:
        threads.env[output] = np.array([getattr(threads.block, field)[axis]], np.int64)

    return run


@handles("gpu.lane_id")
def _lane_id(c: Compiler, op: Any) -> Step:
    output = c.slot(op.results[0])
    return lambda threads: threads.env.__setitem__(output, threads.ids % 32)


@handles("gpu.subgroup_id")
def _subgroup_id(c: Compiler, op: Any) -> Step:
    output = c.slot(op.results[0])
    return lambda threads: threads.env.__setitem__(output, threads.ids // 32)


@handles("gpu.barrier", "nvvm.barrier0")
def _barrier(c: Compiler, op: Any) -> Step:
    def run(threads: Threads) -> Generator[Wait, None, None]:
        yield from threads.barrier(0, threads.block.threads)

    return run


@handles("nvvm.barrier")
def _named_barrier(c: Compiler, op: Any) -> Step:
    inputs = c.inputs(op)

    def run(threads: Threads) -> Generator[Wait, None, None]:
        values = [int(threads.uniform(threads.env[slot], "a barrier")) for slot in inputs]
        number = values[0] if values else 0
        expected = values[1] if len(values) > 1 else threads.block.threads
        yield from threads.barrier(number, expected)

    return run


@handles("nvvm.barrier.arrive")
def _arrive_at_barrier(c: Compiler, op: Any) -> Step:
    number, count = c.inputs(op)

    def run(threads: Threads) -> None:
        if not threads.full:
            raise KernelError("a barrier that some threads do not reach")
        values = [int(threads.uniform(threads.env[slot], "a barrier")) for slot in (number, count)]
        threads.block.arrive(values[0], threads, values[1])

    return run


@handles("nvvm.bar.warp.sync")
def _warp_sync(c: Compiler, op: Any) -> Step:
    # Lock step; what warps hand over without a barrier of the block is reported as a race.
    return lambda threads: None


@handles("nvvm.vote.sync")
def _vote(c: Compiler, op: Any) -> Step:
    kind = re.search(r"(any|all|ballot|uni)", str(op.attributes["kind"]))
    if kind is None or kind.group(1) not in ("any", "all"):
        raise NotImplementedError("this kind of vote")
    test = np.any if kind.group(1) == "any" else np.all
    source, output = c.inputs(op)[1], c.slot(op.results[0])

    def run(threads: Threads) -> None:
        if not threads.full:
            raise KernelError("a vote that some threads do not take part in")
        votes = threads.spread(threads.env[source]).reshape(-1, 32)
        threads.env[output] = np.repeat(test(votes, axis=1), 32)

    return run


@handles("gpu.shuffle")
def _shuffle(c: Compiler, op: Any) -> Step:
    source, offset, width = c.inputs(op)
    value, valid = c.outputs(op)
    found = re.search(r"(xor|down|up|idx)", str(op.attributes["mode"]))
    assert found
    mode = found.group(1)

    def run(threads: Threads) -> None:
        env = threads.env
        lanes = np.arange(threads.count)
        by, size = threads.spread(env[offset]), threads.spread(env[width])
        group, inside = lanes // size, lanes % size
        target = {"xor": inside ^ by, "down": inside + by, "up": inside - by, "idx": by}[mode]
        ok = (target >= 0) & (target < size)
        taken = np.where(ok, group * size + target, lanes)
        active = threads.mask
        if not active[taken[active]].all():
            raise KernelError("a shuffle reads from a thread that does not take part")
        env[value] = threads.spread(env[source])[taken]
        env[valid] = ok

    return run
