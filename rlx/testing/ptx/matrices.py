"""Products of matrices, and what brings their operands from shared memory."""

import re

import numpy as np

from rlx.testing.ptx.memory import rows_of
from rlx.testing.ptx.text import TYPES, Instruction, Kernel, members
from rlx.testing.ptx.warp import LANES, Lanes, Source, Step, Warp, address, handles, source

__all__: list[str] = []

_LANE = np.arange(LANES)
_ROW, _COLUMN = _LANE // 4, _LANE % 4 * 2
"""Of the first element that a lane has of 8 x 8."""


def _sources(kernel: Kernel, text: str, type_: str = "b32") -> list[Source]:
    return [source(kernel, register, type_) for register in members(text.strip("{}"))]


def _pairs(warp: Warp, read: Source, element: np.dtype) -> np.ndarray:
    """[lanes, 2] elements of registers of 32 bits, in f32."""
    return read(warp).copy().view(element).reshape(LANES, 2).astype(np.float32)


def _left(warp: Warp, reads: list[Source], element: np.dtype) -> np.ndarray:
    """A matrix of 16 x 16 from four registers of two elements."""
    matrix = np.zeros((16, 16), np.float32)
    for number, read in enumerate(reads):
        both = _pairs(warp, read, element)
        for x in range(2):
            matrix[_ROW + 8 * (number % 2), _COLUMN + x + 8 * (number // 2)] = both[:, x]
    return matrix


@handles("ldmatrix")
def _load_matrices(kernel: Kernel, instruction: Instruction) -> Step:
    registers, at = (
        members(instruction.operands[0].strip("{}")),
        address(kernel, instruction.operands[1]),
    )
    transposed = "trans" in instruction.words

    def run(warp: Warp, lanes: Lanes) -> None:
        rows = rows_of(warp, lanes, "shared", at, 16).view(np.uint16)
        for number, register in enumerate(registers):
            matrix = rows[8 * number :][:8]
            matrix = matrix.T if transposed else matrix
            both = np.stack([matrix[_ROW, _COLUMN + x] for x in range(2)], axis=1)
            warp.write(register, lanes, both.view(np.uint32)[:, 0])

    return run


@handles("mma")
def _multiply(kernel: Kernel, instruction: Instruction) -> Step:
    if instruction.words[3:7] != ("m16n8k16", "row", "col", "f32"):
        raise NotImplementedError(f"PTX: {instruction.text}")
    element = TYPES[instruction.words[7]]
    result, left, right, sums = instruction.operands
    lefts, rights, before = (
        _sources(kernel, left),
        _sources(kernel, right),
        _sources(kernel, sums, "f32"),
    )
    targets = members(result.strip("{}"))

    def run(warp: Warp, lanes: Lanes) -> None:
        b = np.zeros((16, 8), np.float32)
        for number, read in enumerate(rights):
            both = _pairs(warp, read, element)
            for x in range(2):
                b[_COLUMN + x + 8 * number, _ROW] = both[:, x]
        with np.errstate(all="ignore"):
            found = _left(warp, lefts, element) @ b
            values = [
                found[_ROW + 8 * (n // 2), _COLUMN + n % 2] + read(warp)
                for n, read in enumerate(before)
            ]
        for target, value in zip(targets, values, strict=True):
            warp.write(target, lanes, value)

    return run


# -- products of warp groups -----------------------------------------------------------------------


@handles("wgmma")
def _group(kernel: Kernel, instruction: Instruction) -> Step:
    kind = instruction.words[1]
    if kind == "fence":
        return lambda warp, lanes: None
    if kind == "commit_group":
        return lambda warp, lanes: warp.products.append([])
    if kind == "mma_async":
        return _start(kernel, instruction)
    left = int(instruction.operands[0]) + 1  # with the open one

    def wait(warp: Warp, lanes: Lanes) -> None:
        while len(warp.products) > left:
            for finish in warp.products.pop(0):
                finish()

    return wait


def _start(kernel: Kernel, instruction: Instruction) -> Step:
    """A warp's part: 16 of 64 rows. The operand before the signs tells whether to add."""
    result, left, right, keeps, _, _, *transposed = instruction.operands
    targets, adds = members(result.strip("{}")), keeps == "1"
    (size,) = re.findall(r"m64n(\d+)k16", instruction.text)
    element, columns = TYPES[instruction.type], int(size)
    registers = _sources(kernel, left) if left.startswith("{") else None
    described = None if registers else source(kernel, left, "u64")
    other = source(kernel, right, "u64")
    if len(targets) != columns // 2 or transposed[:-1] not in ([], ["0"]):
        raise NotImplementedError(f"PTX: {instruction.text}")
    turned = transposed[-1] == "1"

    def run(warp: Warp, lanes: Lanes) -> None:
        a = None if registers is None else _left(warp, registers, element)
        rows = 16 * (warp.threads[0] // LANES % 4) + np.arange(16)
        first = None if described is None else described(warp)[0]
        second = other(warp)[0]
        if not adds:
            for target in targets:
                warp.write(target, lanes, np.full(LANES, np.nan, np.float32))

        def finish() -> None:
            x = _described(warp, first, rows, element, False) if a is None else a
            y = _described(warp, second, np.arange(columns), element, turned)
            with np.errstate(all="ignore"):
                found = x @ y.T
                for n, target in enumerate(targets):
                    value = found[_ROW + 8 * (n // 2 % 2), _COLUMN + n % 2 + 8 * (n // 4)]
                    if adds:
                        value = value + warp.read(target).astype(np.uint32).view(np.float32)
                    warp.write(target, lanes, value)

        warp.products[-1].append(finish)

    return run


def _described(
    warp: Warp, descriptor: np.uint64 | None, rows: np.ndarray, element: np.dtype, turned: bool
) -> np.ndarray:
    """[rows, 16] elements of a matrix in shared memory, with a swizzle of 128 bytes, in f32."""
    assert descriptor is not None
    bits = int(descriptor)
    if bits >> 62 != 1 or bits >> 49 & 7:
        raise NotImplementedError(f"a descriptor {bits:#x}")
    start, leading, stride = ((bits >> at & 0x3FFF) << 4 for at in (0, 16, 32))
    row, k = np.meshgrid(rows, np.arange(16), indexing="ij")
    if turned:
        at = start + row // 64 * leading + k // 8 * stride + k % 8 * 128 + row % 64 * 2
    else:
        at = start + row // 8 * stride + row % 8 * 128 + k * 2
    at ^= (at >> 7 & 7) << 4
    return warp.block.shared.view(np.uint16)[at // 2].view(element).astype(np.float32)
