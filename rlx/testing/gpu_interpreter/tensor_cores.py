"""cp.async, ldmatrix and mma.sync."""

from typing import Any

import numpy as np

from rlx.testing.gpu_interpreter.memory import POISON, KernelError
from rlx.testing.gpu_interpreter.program import Compiler, Step, attribute, handles
from rlx.testing.gpu_interpreter.threads import Threads


@handles("nvgpu.device_async_copy")
def _copy(c: Compiler, op: Any) -> Step:
    n_dst, n_to, n_src, n_from, n_count = attribute(op, "operandSegmentSizes")
    inputs = c.inputs(op)
    assert n_dst == n_src == 1
    target, to = inputs[0], inputs[1 : 1 + n_to]
    source, start = inputs[1 + n_to], inputs[2 + n_to : 2 + n_to + n_from]
    limit = inputs[-1] if n_count else None
    elements = attribute(op, "dstElements")
    output = c.slot(op.results[0])
    c.granule = min(c.granule, 2)

    def run(threads: Threads) -> None:
        env, mask = threads.env, threads.mask
        dst, src = env[target], env[source]
        size = elements * dst.itemsize
        if size not in (4, 8, 16):
            raise KernelError(f"an asynchronous copy of {size} bytes")
        address = dst.address([env[i] for i in to], mask, elements)
        dst.aligned(address, mask, size)
        if limit is None:
            count = np.full(threads.count, elements)
        else:
            count = threads.spread(env[limit])
            if ((count < 0) | (count > elements))[mask].any():
                raise KernelError("an asynchronous copy of more elements than it has room for")
        # What is not read may lie anywhere.
        values = np.zeros((threads.count, elements), dst.dtype)
        indices = [env[i] for i in start]
        for n in np.unique(count[mask]):
            if n == 0:
                continue
            some = mask & (count == n)
            where = src.address(indices, some, int(n))
            src.aligned(where, some, size)
            src.buffer.note_read(
                where[some], int(n) * src.itemsize, threads.thread[some], threads.epoch
            )
            values[some, :n] = src.gather(where[some], int(n))
        address, values = address[mask], values[mask]
        thread = threads.thread[mask]
        dst.buffer.note_write(address, size, thread, threads.epoch)
        bytes_at = address[:, None] + np.arange(size)
        dst.buffer.data[bytes_at] = POISON
        dst.buffer.fly(address, size, True)
        threads.copies.append((dst, address, values, thread, size))
        full = np.zeros(threads.count, np.int64)
        full[mask] = address
        threads.block.counters.banks("cp.async", full, size, mask)
        env[output] = None

    return run


@handles("nvgpu.device_async_create_group", "nvvm.cp.async.commit.group")
def _group(c: Compiler, op: Any) -> Step:
    outputs = c.outputs(op)

    def run(threads: Threads) -> None:
        if not threads.full:
            raise KernelError("a group of asynchronous copies that not all threads close")
        threads.groups.append(threads.copies)
        threads.copies = []
        for output in outputs:
            threads.env[output] = None

    return run


@handles("nvgpu.device_async_wait", "nvvm.cp.async.wait.group")
def _wait(c: Compiler, op: Any) -> Step:
    left = attribute(op, "numGroups") or attribute(op, "n") or 0

    def run(threads: Threads) -> None:
        while len(threads.groups) > left:
            for dst, address, values, thread, size in threads.groups.pop(0):
                dst.scatter(address, values)
                dst.buffer.fly(address, size, False)
                dst.buffer.note_write(address, size, thread, threads.epoch)

    return run


@handles("nvgpu.ldmatrix")
def _ldmatrix(c: Compiler, op: Any) -> Step:
    source, *indices = c.inputs(op)
    output, tiles = c.slot(op.results[0]), attribute(op, "numTiles")
    transpose = bool(attribute(op, "transpose"))
    lane = np.arange(32)
    row, column = lane // 4, lane % 4 * 2

    def run(threads: Threads) -> None:
        env = threads.env
        if not threads.full:
            raise KernelError("ldmatrix that some threads do not take part in")
        view = env[source]
        elements = 16 // view.itemsize
        address = view.address([env[i] for i in indices], threads.mask, elements)
        # Threads past those that give an address are not looked at.
        used = threads.ids % 32 < 8 * tiles
        view.aligned(address, used, 16)
        view.buffer.note_read(address[used], 16, threads.thread[used], threads.epoch)
        threads.block.counters.banks("ldmatrix", address, 16, used)
        rows = view.gather(address, elements).reshape(-1, 4, 8, elements)[:, :tiles]
        if transpose:
            rows = rows.swapaxes(2, 3)
        pairs = rows[:, :, row[:, None], column[:, None] + np.arange(2)]  # [warp, tile, lane, 2]
        env[output] = pairs.swapaxes(1, 2).reshape(threads.count, tiles, 2)

    return run


def _fragment(rows: int, columns: int, registers: list[tuple[int, int]]) -> np.ndarray:
    """Where in 32 lanes' registers each element of a tile lies; ``registers`` are offsets."""
    place = np.full((rows, columns), -1)
    for lane in range(32):
        for number, (r, k) in enumerate(registers):
            for e in range(2):
                place[lane // 4 + r, lane % 4 * 2 + k + e] = (
                    lane * len(registers) + number
                ) * 2 + e
    return place.reshape(-1)


_A = _fragment(16, 16, [(0, 0), (8, 0), (0, 8), (8, 8)])
_B = _fragment(8, 16, [(0, 0), (0, 8)])  # transposed: [n, k]
_C = _fragment(16, 8, [(0, 0), (8, 0)])
_BACK = np.argsort(_C)


@handles("nvgpu.mma.sync")
def _mma(c: Compiler, op: Any) -> Step:
    shape = attribute(op, "mmaShape")
    if shape != [16, 8, 16] or "tf32Enabled" in op.attributes:
        raise NotImplementedError(f"mma.sync of shape {shape}")
    a, b, total = c.inputs(op)
    output = c.slot(op.results[0])

    def run(threads: Threads) -> None:
        env = threads.env
        if not threads.full:
            raise KernelError("mma.sync that some threads do not take part in")
        warps = threads.count // 32

        def tile(value: np.ndarray, place: np.ndarray) -> np.ndarray:
            flat = threads.spread(value).reshape(warps, -1)
            return flat[:, place].astype(np.float32)

        left = tile(env[a], _A).reshape(warps, 16, 16)
        right = tile(env[b], _B).reshape(warps, 8, 16)
        result = left @ right.swapaxes(1, 2) + tile(env[total], _C).reshape(warps, 16, 8)
        env[output] = result.reshape(warps, 128)[:, _BACK].reshape(threads.count, 2, 2)

    return run
