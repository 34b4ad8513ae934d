"""Short names for ops on AMX's matrix tiles.

A tile of bf16 has 16 rows of 16 pairs, one of f32 16 rows of 16 elements. A product takes tile A as
rows of a matrix [16, 32], and tile B as **pairs**: row p holds, for each of 16 columns, what is at
steps 2p and 2p + 1 of that column.
"""

from collections.abc import Sequence

from rlx.host import arith, func, ir, memref, x86
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernels

__all__ = [
    "DEPTH",
    "SIDE",
    "load",
    "load_sums",
    "multiply",
    "permit",
    "prefetch",
    "store",
    "sums",
    "zero",
]

SIDE = 16
"""Rows of a tile, and columns of a tile of sums."""

DEPTH = 32
"""Steps of the inner dimension of one product."""


def _operand() -> ir.Type:
    return ir.Type.parse(f"!x86.amx.tile<{SIDE}x{DEPTH}xbf16>")


def sums() -> ir.Type:
    return ir.Type.parse(f"!x86.amx.tile<{SIDE}x{SIDE}xf32>")


def zero() -> ir.Value:
    return x86.amx_tile_zero(sums())


def load(buffer: ir.Value, at: Sequence[Index]) -> ir.Value:
    """A tile of bf16 from the last two axes of a buffer."""
    return x86.amx_tile_load(_operand(), buffer, [code.index(i) for i in at])


def load_sums(buffer: ir.Value, at: Sequence[Index]) -> ir.Value:
    return x86.amx_tile_load(sums(), buffer, [code.index(i) for i in at])


def store(tile: ir.Value, buffer: ir.Value, at: Sequence[Index]) -> None:
    x86.amx_tile_store(buffer, [code.index(i) for i in at], tile)


def multiply(a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
    """``total + a @ b``."""
    return x86.amx_tile_mulf(a, b, total)


def prefetch(buffer: ir.Value, at: Sequence[Index]) -> None:
    """Fetches the cache line of an element into L1."""
    memref.prefetch(buffer, [code.index(i) for i in at], False, 3, True)


# arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) of Linux on x86-64.
_ARCH_PRCTL, _REQUEST, _TILE_DATA = 158, 0x1023, 18
_PERMITTED = "rlx_amx_permitted"


def permit(kernels: Kernels) -> None:
    """Emits a request for the use of tiles, which Linux wants once per process.

    That it is granted is for the target to find out before it chooses AMX.
    """
    kernels.define("rlx_amx_permit", [], lambda: _permit(kernels.module))()


def _permit(module: ir.Operation) -> None:
    i32, i64 = ir.IntegerType.get_signless(32), ir.IntegerType.get_signless(64)
    flag = ir.MemRefType.get([], i32)
    with ir.InsertionPoint.at_block_begin(module.regions[0].blocks[0]):
        start = ir.DenseElementsAttr.get_splat(
            ir.RankedTensorType.get([], i32), ir.IntegerAttr.get(i32, 0)
        )
        memref.global_(
            _PERMITTED, flag, sym_visibility=ir.StringAttr.get("private"), initial_value=start
        )
        func.FuncOp("syscall", ([i64] * 3, [i64]), visibility="private")
    permitted = memref.get_global(flag, _PERMITTED)
    zero = arith.constant(i32, 0)
    new = arith.cmpi(arith.CmpIPredicate.eq, memref.load(permitted, []), zero)

    def request() -> None:
        numbers = [arith.constant(i64, n) for n in (_ARCH_PRCTL, _REQUEST, _TILE_DATA)]
        func.CallOp([i64], ir.FlatSymbolRefAttr.get("syscall"), numbers)
        memref.store(arith.constant(i32, 1), permitted, [])

    code.if_(new, request)
