"""Loads, stores, and copies to shared memory."""

import functools

import numpy as np

from rlx.testing.gpu_interpreter.memory import KernelError
from rlx.testing.ptx.text import TYPES, Instruction, Kernel, members
from rlx.testing.ptx.warp import LANES, Lanes, Source, Step, Warp, address, handles, source

__all__ = ["rows_of"]


def _registers(text: str) -> list[str]:
    return members(text.strip("{}"))


@handles("ld")
def _load(kernel: Kernel, instruction: Instruction) -> Step:
    target, place = instruction.operands
    registers, dtype = _registers(target), TYPES[instruction.type]
    if instruction.words[1] == "param":
        return _parameter(target, place, dtype)
    size, space, at = dtype.itemsize, instruction.words[1], address(kernel, place)
    # The sign of what is narrower than its register fills it up.
    wide = np.dtype("i8") if instruction.type[0] == "s" else dtype

    def run(warp: Warp, lanes: Lanes) -> None:
        found = rows_of(warp, lanes, space, at, size * len(registers))
        for number, register in enumerate(registers):
            part = found[:, number * size : (number + 1) * size].copy().view(dtype)[:, 0]
            warp.write(register, lanes, part.astype(wide))

    return run


def _parameter(target: str, place: str, dtype: np.dtype) -> Step:
    name, _, offset = place.strip("[]").partition("+")
    start = int(offset or 0)

    def run(warp: Warp, lanes: Lanes) -> None:
        value = np.frombuffer(warp.block.parameters[name], dtype, 1, start)
        warp.write(target, lanes, np.broadcast_to(value, LANES))

    return run


def rows_of(warp: Warp, lanes: Lanes, space: str, at: Source, size: int) -> np.ndarray:
    """Bytes [lanes, size] at the addresses of lanes."""
    found, places = np.zeros((LANES, size), np.uint8), at(warp)
    for lane in np.flatnonzero(lanes):
        found[lane] = warp.block.memory(space, int(places[lane]), size)
    return found


@handles("st")
def _store(kernel: Kernel, instruction: Instruction) -> Step:
    place, value = instruction.operands
    size, space, at = TYPES[instruction.type].itemsize, instruction.words[1], address(kernel, place)
    reads = [source(kernel, text, f"b{8 * size}") for text in _registers(value)]

    def run(warp: Warp, lanes: Lanes) -> None:
        rows = np.stack([read(warp) for read in reads], axis=1).view(np.uint8)
        places = at(warp)
        for lane in np.flatnonzero(lanes):
            memory = warp.block.memory(space, int(places[lane]), rows.shape[1])
            memory[:] = rows[lane]

    return run


@handles("atom", "red")
def _atomic(kernel: Kernel, instruction: Instruction) -> Step:
    if instruction.words[1:] != ("shared", "or", "b32"):
        raise NotImplementedError(f"PTX: {instruction.text}")
    *_, place, value = instruction.operands
    at, read = address(kernel, place), source(kernel, value, "b32")

    def run(warp: Warp, lanes: Lanes) -> None:
        places, values = at(warp), read(warp)
        for lane in np.flatnonzero(lanes):
            warp.block.memory("shared", int(places[lane]), 4).view("u4")[:] |= values[lane]

    return run


@handles("cp")
def _copy(kernel: Kernel, instruction: Instruction) -> Step:
    kind, operands = instruction.words[2], instruction.operands
    if kind == "bulk":
        from rlx.testing.ptx.hopper import copy_box

        return copy_box(kernel, instruction)
    if kind == "commit_group":
        return lambda warp, lanes: warp.copies.append([])
    if kind == "wait_group":
        left = int(operands[0]) + 1  # with the open one

        def wait(warp: Warp, lanes: Lanes) -> None:
            while len(warp.copies) > left:
                for land in warp.copies.pop(0):
                    land()

        return wait
    target, origin = address(kernel, operands[0]), address(kernel, operands[1])
    counts = source(kernel, [*operands, operands[2]][3], "u32")

    def start(warp: Warp, lanes: Lanes) -> None:
        to, from_, count = target(warp), origin(warp), counts(warp)
        for lane in np.flatnonzero(lanes):
            places = int(to[lane]), int(from_[lane]), int(count[lane])
            warp.copies[-1].append(functools.partial(_land, warp, *places))

    return start


def _land(warp: Warp, to: int, from_: int, count: int) -> None:
    """Copies 16 bytes, of which those past ``count`` are zero."""
    target = warp.block.memory("shared", to, 16)
    if from_ % 16:
        raise KernelError(f"a copy from {from_:#x}, which is misaligned")
    target[:] = 0
    if count:
        root, start = warp.block.gpu.find(from_, count)
        target[:count] = root[start : start + count]
