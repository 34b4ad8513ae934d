"""`rlx-huge-pages`: large buffers in few pages."""

from dataclasses import dataclass

from rlx.host import ir
from rlx.passes.base import Pass

__all__ = ["HugePages"]

_ALLOCATE, _OWN = "aligned_alloc", "rlx_allocate"

# 32 MiB is where malloc begins to ask the system each time, 2 MiB the size of a huge page on x86,
# and 14 MADV_HUGEPAGE. Sizes that are larger than all memory must not wrap around.
_TEXT = """
    llvm.func @aligned_alloc(i64, i64) -> !llvm.ptr
    llvm.func @madvise(!llvm.ptr, i64, i32) -> i32
    llvm.func internal @rlx_allocate(%align: i64, %size: i64) -> (!llvm.ptr {llvm.noalias})
        attributes {no_inline} {
      %least = llvm.mlir.constant(33554432 : i64) : i64
      %most = llvm.mlir.constant(4611686018427387904 : i64) : i64
      %past = llvm.sub %size, %least : i64
      %large = llvm.icmp "ult" %past, %most : i64
      llvm.cond_br %large, ^large, ^small
    ^small:
      %usual = llvm.call @aligned_alloc(%align, %size) : (i64, i64) -> !llvm.ptr
      llvm.return %usual : !llvm.ptr
    ^large:
      %page = llvm.mlir.constant(2097152 : i64) : i64
      %rest = llvm.mlir.constant(2097151 : i64) : i64
      %mask = llvm.mlir.constant(-2097152 : i64) : i64
      %advice = llvm.mlir.constant(14 : i32) : i32
      %more = llvm.add %size, %rest : i64
      %whole = llvm.and %more, %mask : i64
      %pages = llvm.call @aligned_alloc(%page, %whole) : (i64, i64) -> !llvm.ptr
      %ignored = llvm.call @madvise(%pages, %whole, %advice) : (!llvm.ptr, i64, i32) -> i32
      llvm.return %pages : !llvm.ptr
    }
"""


@dataclass(frozen=True)
class HugePages(Pass):
    """Asks Linux for huge pages where a buffer has 32 MiB or more.

    Such a buffer comes from the system anew each time, and goes back; to hand it over in pages of
    4 KiB takes longer than to write it. Replaces calls of `aligned_alloc`. Runs on the LLVM
    dialect.
    """

    name = "rlx-huge-pages"
    anchor = "builtin.module"

    def run(self, op: ir.Operation) -> None:
        symbols = ir.SymbolTable(op)
        if _ALLOCATE not in symbols:
            return
        name = _OWN
        while name in symbols:
            name += "_"
        ir.SymbolTable.replace_all_symbol_uses(_ALLOCATE, name, op)
        for function in ir.Module.parse(_TEXT).body.operations:
            symbol = ir.StringAttr(function.attributes["sym_name"]).value
            if symbol in symbols and symbol != _OWN:
                continue
            copy = function.operation.clone()
            if symbol == _OWN:
                copy.attributes["sym_name"] = ir.StringAttr.get(name)
            op.regions[0].blocks[0].append(copy)
