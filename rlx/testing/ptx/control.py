"""Branches, barriers, and what lanes exchange."""

import numpy as np

from rlx.testing.gpu_interpreter.memory import KernelError
from rlx.testing.ptx.text import Instruction, Kernel
from rlx.testing.ptx.warp import LANES, Lanes, Step, Warp, handles, source

__all__: list[str] = []


@handles("ret")
def _return(kernel: Kernel, instruction: Instruction) -> Step:
    def run(warp: Warp, lanes: Lanes) -> None:
        warp.done = warp.done | lanes

    return run


@handles("bra")
def _branch(kernel: Kernel, instruction: Instruction) -> Step:
    target = kernel.labels[instruction.operands[0]]
    return lambda warp, lanes: warp.jump(lanes, target)


@handles("bar")
def _barrier(kernel: Kernel, instruction: Instruction) -> Step:
    number = source(kernel, instruction.operands[0], "u32")
    count = source(kernel, [*instruction.operands, "%ntid.x"][1], "u32")
    waits = instruction.words[1] == "sync"

    def run(warp: Warp, lanes: Lanes) -> None:
        passed = warp.block.arrive(int(number(warp)[0]), int(count(warp)[0]))
        if waits:
            warp.waits_for = passed

    return run


@handles("fence", "setmaxnreg")
def _nothing(kernel: Kernel, instruction: Instruction) -> Step:
    return lambda warp, lanes: None


@handles("shfl")
def _shuffle(kernel: Kernel, instruction: Instruction) -> Step:
    targets, value, which, bounds, *_ = instruction.operands
    target, _, predicate = targets.partition("|")
    read, by, clamp = (source(kernel, text, "u32") for text in (value, which, bounds))
    mode = instruction.words[2]

    def run(warp: Warp, lanes: Lanes) -> None:
        if lanes.sum() != LANES or (clamp(warp) != LANES - 1).any():
            raise KernelError(f"a shuffle of a part of a warp: {instruction.text}")
        lane, other = np.arange(LANES), by(warp).astype(np.int64)
        from_ = {"bfly": lane ^ other, "down": lane + other, "idx": other, "up": lane - other}[mode]
        inside = (from_ >= 0) & (from_ < LANES)
        warp.write(target, lanes, read(warp)[np.where(inside, from_, lane)])
        if predicate:
            warp.tell(predicate, lanes, inside)

    return run
