"""What the machine can do at most, by kernels compiled with rlx: additions and reads."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Roofline", "fma_text", "measure_roofline", "stream_text"]

_CHAINS = 24  # enough to hide the latency of two units


@dataclass(frozen=True)
class Roofline:
    """Attributes:
    flops: f32 multiply-adds with all operands in registers, operations per second.
    stream: bytes per second that can be read from memory.
    cache: the same from an array of 16 MiB, which the last cache of many machines holds.
    """

    flops: float
    stream: float
    cache: float


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


def measure_roofline(threads: int, seconds: float = 0.5) -> Roofline:
    """Measures with as many threads, each on its own share."""
    import rlx
    from rlx.targets.cpu import host_features

    lanes = 16 if "avx512f" in host_features() else 8
    fma = rlx.compile(fma_text(lanes), threads=1)
    stream = rlx.compile(stream_text(lanes), threads=1)
    with ThreadPoolExecutor(threads) as pool:

        def best(run: Callable[[int], Any]) -> float:
            """Median seconds for all threads to run once."""
            times: list[float] = []
            list(pool.map(run, range(threads)))
            end = time.perf_counter() + seconds
            while time.perf_counter() < end or len(times) < 3:
                start = time.perf_counter()
                list(pool.map(run, range(threads)))
                times.append(time.perf_counter() - start)
            return statistics.median(times)

        rounds = 1_000_000
        x = np.ones(lanes, np.float32)
        work = 2.0 * _CHAINS * lanes * rounds * threads
        flops = work / best(lambda _: fma(rounds, x))
        rates = []
        for size in (2**29, 2**24):
            shares = np.random.default_rng(0).random((threads, size // 4), np.float32)
            rates.append(shares.nbytes / best(lambda i, s=shares: stream(s[i])))
    return Roofline(flops, *rates)
