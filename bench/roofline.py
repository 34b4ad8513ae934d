"""What the machine can do at most, by kernels compiled with rlx: multiply-adds and reads."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Roofline", "fma_text", "measure_roofline", "stream_text", "tiles_text"]

_CHAINS = 12  # enough to hide the latency of two units, and few enough for 16 registers


@dataclass(frozen=True)
class Roofline:
    """Attributes:
    flops: f32 multiply-adds with all operands in registers, operations per second.
    stream: bytes per second that can be read from memory.
    cache: the same from an array of 16 MiB, which the last cache of many machines holds.
    tiles: bf16 multiply-adds of matrix tiles (AMX) that stay in registers; None where there are
        no such tiles.
    """

    flops: float
    stream: float
    cache: float
    tiles: float | None = None

    def peak(self, dtype: str) -> float | None:
        """Multiply-adds that inputs of this dtype can reach; None where nothing was measured."""
        return {"f32": self.flops, "bf16": self.tiles}.get(dtype)

    def highest(self, other: "Roofline") -> "Roofline":
        """The larger one of each figure."""
        tiles = None if self.tiles is None else max(self.tiles, other.tiles or 0.0)
        return Roofline(
            max(self.flops, other.flops),
            max(self.stream, other.stream),
            max(self.cache, other.cache),
            tiles,
        )


def fma_text(lanes: int) -> str:
    """``main(n, x)``: n rounds of independent multiply-adds on vectors of ``lanes`` elements."""
    vector, tensor = f"vector<{lanes}xf32>", f"tensor<{lanes}xf32>"
    names = [f"%a{i}" for i in range(_CHAINS)]
    start = ", ".join(f"{name} = %x{i}" for i, name in enumerate(names))
    types = ", ".join([vector] * _CHAINS)
    results = ", ".join(f"%f{i}" for i in range(_CHAINS))
    steps = "\n".join(
        f"%f{i} = vector.fma {name}, %m, %v : {vector}" for i, name in enumerate(names)
    )
    firsts = "\n".join(
        f"%k{i} = arith.constant dense<{i}.0> : {vector}\n%x{i} = arith.addf %v, %k{i} : {vector}"
        for i in range(_CHAINS)
    )
    sums = "\n".join(f"%s{i + 1} = arith.addf %s{i}, %r#{i} : {vector}" for i in range(_CHAINS))
    return f"""func.func @main(%n: index, %x: {tensor}) -> {tensor} {{
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %zero = arith.constant 0.0 : f32
      %m = arith.constant dense<0.5> : {vector}
      %v = vector.transfer_read %x[%c0], %zero {{in_bounds = [true]}} : {tensor}, {vector}
      {firsts}
      %r:{_CHAINS} = scf.for %i = %c0 to %n step %c1 iter_args({start}) -> ({types}) {{
        {steps}
        scf.yield {results} : {types}
      }}
      %s0 = arith.constant dense<0.0> : {vector}
      {sums}
      %y = vector.transfer_write %s{_CHAINS}, %x[%c0] {{in_bounds = [true]}} : {vector}, {tensor}
      return %y : {tensor}
    }}"""


TILE_FLOPS = 4 * 2 * 16 * 16 * 32
"""Of a round of :func:`tiles_text`."""


def tiles_text() -> str:
    """``main(n, x, y)``: n rounds of four independent products of tiles, added up."""
    a, c = "!x86.amx.tile<16x32xbf16>", "!x86.amx.tile<16x16xf32>"
    cells = [(i, j) for i in range(2) for j in range(2)]
    loads = "\n".join(
        f"%{name}{i} = x86.amx.tile_load %m{name}[%i{i}, %c0, %c0] : memref<2x16x32xbf16> into {a}"
        for name in "xy"
        for i in range(2)
    )
    starts = "\n".join(f"%z{i}{j} = x86.amx.tile_zero : {c}" for i, j in cells)
    carried = ", ".join(f"%a{i}{j} = %z{i}{j}" for i, j in cells)
    types = ", ".join([c] * 4)
    products = "\n".join(
        f"%d{i}{j} = x86.amx.tile_mulf %x{i}, %y{j}, %a{i}{j} : {a}, {a}, {c}" for i, j in cells
    )
    stores = "\n".join(
        f"x86.amx.tile_store %out[%i{i}, %i{j}, %c0, %c0], %r#{2 * i + j} "
        f": memref<2x2x16x16xf32>, {c}"
        for i, j in cells
    )
    operand, result = "tensor<2x16x32xbf16>", "tensor<2x2x16x16xf32>"
    return f"""func.func @main(%n: index, %x: {operand}, %y: {operand}) -> {result} {{
      %c0 = arith.constant 0 : index
      %i0 = arith.constant 0 : index
      %i1 = arith.constant 1 : index
      %mx = bufferization.to_buffer %x read_only : {operand} to memref<2x16x32xbf16>
      %my = bufferization.to_buffer %y read_only : {operand} to memref<2x16x32xbf16>
      %out = memref.alloc() : memref<2x2x16x16xf32>
      {loads}
      {starts}
      %r:4 = scf.for %i = %c0 to %n step %i1 iter_args({carried}) -> ({types}) {{
        {products}
        scf.yield {", ".join(f"%d{i}{j}" for i, j in cells)} : {types}
      }}
      {stores}
      %all = bufferization.to_tensor %out restrict writable : memref<2x2x16x16xf32> to {result}
      return %all : {result}
    }}"""


def stream_text(lanes: int, unroll: int = 8) -> str:
    """``main(x)``: a vector of sums over all of ``x``, whose size divides by what a round reads."""
    vector, tensor = f"vector<{lanes}xf32>", f"tensor<{lanes}xf32>"
    start = ", ".join(f"%a{i} = %zeros" for i in range(unroll))
    types = ", ".join([vector] * unroll)
    reads = "\n".join(
        f"%o{i} = arith.constant {i * lanes} : index\n%j{i} = arith.addi %i, %o{i} : index\n"
        f"%v{i} = vector.transfer_read %x[%j{i}], %zero {{in_bounds = [true]}} "
        f": tensor<?xf32>, {vector}\n%b{i} = arith.addf %a{i}, %v{i} : {vector}"
        for i in range(unroll)
    )
    sums = "\n".join(f"%s{i + 1} = arith.addf %s{i}, %r#{i} : {vector}" for i in range(unroll))
    return f"""func.func @main(%x: tensor<?xf32>) -> {tensor} {{
      %c0 = arith.constant 0 : index
      %step = arith.constant {unroll * lanes} : index
      %zero = arith.constant 0.0 : f32
      %zeros = arith.constant dense<0.0> : {vector}
      %n = tensor.dim %x, %c0 : tensor<?xf32>
      %r:{unroll} = scf.for %i = %c0 to %n step %step iter_args({start}) -> ({types}) {{
        {reads}
        scf.yield {", ".join(f"%b{i}" for i in range(unroll))} : {types}
      }}
      %s0 = arith.constant dense<0.0> : {vector}
      {sums}
      %out = tensor.empty() : {tensor}
      %y = vector.transfer_write %s{unroll}, %out[%c0] {{in_bounds = [true]}} : {vector}, {tensor}
      return %y : {tensor}
    }}"""


def measure_roofline(threads: int, isa: str = "", seconds: float = 0.5) -> Roofline:
    """Measures with as many threads, each on its own share, with an instruction set or the best."""
    import ml_dtypes

    import rlx
    from rlx.schedules.cpu.isa import ISAS, best
    from rlx.targets import tiles
    from rlx.targets.cpu import host_features

    isa = isa or best(host_features())
    target, lanes = f"cpu:{isa}", ISAS[isa].lanes if isa in ISAS else 4
    fma = rlx.compile(fma_text(lanes), target, threads=1)
    stream = rlx.compile(stream_text(lanes), target, threads=1)
    with ThreadPoolExecutor(threads) as pool:

        def least(run: Callable[[int], Any]) -> float:
            """The least seconds for all threads to run once."""
            times: list[float] = []
            list(pool.map(run, range(threads)))
            end = time.perf_counter() + seconds
            while time.perf_counter() < end or len(times) < 3:
                start = time.perf_counter()
                list(pool.map(run, range(threads)))
                times.append(time.perf_counter() - start)
            return min(times)

        rounds = 1_000_000
        x = np.ones(lanes, np.float32)
        work = 2.0 * _CHAINS * lanes * rounds * threads
        flops = work / least(lambda _: fma(rounds, x))
        rates = []
        for size in (2**29, 2**24):
            shares = np.random.default_rng(0).random((threads, size // 4), np.float32)
            rates.append(shares.nbytes / least(lambda i, s=shares: stream(s[i])))
        of_tiles = None
        if isa == "amx" and tiles.permitted():
            products = rlx.compile(tiles_text(), target, threads=1)
            ones = np.ones((2, 16, 32), ml_dtypes.bfloat16)
            of_tiles = TILE_FLOPS * rounds * threads / least(lambda _: products(rounds, ones, ones))
    return Roofline(flops, *rates, of_tiles)
