"""Kernels: private functions of a module, in one thread or in several."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from rlx.host import arith, func, ir, memref, scf
from rlx.schedules.cpu.code.indices import Index, if_, index, less, maximum, minimum
from rlx.schedules.cpu.threads import MAX_THREADS, PARALLEL, ask

__all__ = [
    "Kernel",
    "Kernels",
    "LEAST_NANOSECONDS",
]

Kernel: TypeAlias = Callable[..., None]
"""Emits a call with the arguments it is given."""


LEAST_NANOSECONDS = 10_000
"""The least share of a thread: to tell it costs some microseconds, or some tens while it sleeps."""


class Kernels:
    """The kernels of a module: private functions, one per distinct name.

    Attributes:
        threads: how many threads kernels may use; 0 for a number found out at run time.
    """

    def __init__(self, module: ir.Operation, threads: int = 1):
        self.module = module
        self.threads = threads
        self._types: dict[str, list[ir.Type]] = {}
        self._names: dict[Any, str] = {}

    def name(self, prefix: str, key: Any) -> str:
        """A name that is the same for equal keys: for kernels with many parameters.

        The dot tells it from names without a key, which may end in a number of their own.
        """
        if (prefix, key) not in self._names:
            taken = sum(other == prefix for other, _ in self._names)
            self._names[prefix, key] = f"{prefix}.{taken}"
        return self._names[prefix, key]

    def define(
        self,
        name: str,
        types: Sequence[ir.Type],
        build: Callable[..., None],
        like: func.FuncOp | None = None,
    ) -> Kernel:
        """A function that emits a call of kernel ``name``, which ``build`` emits once.

        Equal names must stand for equal kernels. ``build`` takes the arguments. LLVM treats the
        kernel as the function ``like``.
        """
        if name not in self._types:
            self._types[name] = list(types)
            with ir.InsertionPoint.at_block_begin(self.module.regions[0].blocks[0]):
                type_ = ir.FunctionType.get(list(types), [])
                function = func.FuncOp(name, type_, visibility="private")
            function.attributes["llvm.linkage"] = ir.Attribute.parse("#llvm.linkage<internal>")
            function.attributes["llvm.no_inline"] = ir.UnitAttr.get()
            if like is not None:
                for key in like.attributes:
                    if key.startswith("llvm."):
                        function.attributes[key] = like.attributes[key]
            block = function.add_entry_block()
            with ir.InsertionPoint(block):
                build(*block.arguments)
                func.return_([])
        return lambda *arguments: _call(name, self._types[name], arguments)

    def parts(self, count: Index, nanoseconds: Index) -> Index:
        """Into how many parts :meth:`parallel` should split ``count`` units of work.

        There is at most one part per thread, and only one, of type ``int`` where threads are not
        used at all, if the work is too little to be worth telling other threads.

        Args:
            count: how many units there are.
            nanoseconds: about how long one thread would take for all of them.
        """
        if self.threads == 1:
            return 1
        most: Index = self.threads or ask(self.module, MAX_THREADS)
        worth = arith.divui(index(nanoseconds), index(LEAST_NANOSECONDS))
        return maximum(minimum(minimum(count, most), worth), 1)

    def parallel(
        self,
        name: str,
        types: Sequence[ir.Type],
        build: Callable[..., None],
        like: func.FuncOp | None = None,
    ) -> Kernel:
        """A function that emits calls of kernel ``name`` in several threads, which join at the end.

        It takes how many parts there are, as :meth:`parts` says, the number of units of work, and
        the kernel's arguments. ``build`` is called once, as for :meth:`define`, with

        * the number of the part, which also tells a part's own share of scratch memory that the
          caller has allocated as ``alloc([parts, ...])``;
        * its first unit and the one after its last;
        * the arguments, of ``types``.

        Parts run at the same time and in no order: no part may write what another reads or writes.
        They must not use threads themselves. Scratch memory may also be allocated in ``build``.
        The result is the same for any number of parts if that of a unit does not depend on others::

            run = kernels.parallel("rlx_add_one", [vector_type], body)  # body(part, low, high, x)
            run(kernels.parts(count, count), count, x)
        """
        part_types = [ir.IndexType.get()] * 3
        run = self.define(name, [*part_types, *types], build, like)

        def emit(parts: Index, count: Index, *arguments: Any) -> None:
            def alone() -> None:
                run(0, 0, count, *arguments)

            if self.threads == 1:
                alone()
                return
            # Made here, since the loop may hold nothing but the call.
            operands = [_cast(t, a) for t, a in zip(types, arguments, strict=True)]
            parts, count = index(parts), index(count)

            def together() -> None:
                zero, one = index(0), index(1)
                loop = scf.ParallelOp([], [zero], [parts], [one], [])
                loop.operation.attributes[PARALLEL] = ir.UnitAttr.get()
                block = loop.regions[0].blocks.append(ir.IndexType.get())
                with ir.InsertionPoint(block):
                    part = block.arguments[0]
                    low = arith.divui(arith.muli(part, count), parts)
                    high = arith.divui(arith.muli(arith.addi(part, one), count), parts)
                    run(part, low, high, *operands)
                    scf.reduce([], 0)

            if_(less(1, parts), together, alone)

        return emit


def _call(name: str, types: Sequence[ir.Type], arguments: Sequence[Any]) -> None:
    """Calls a kernel; buffers of other static sizes are cast."""
    operands = [_cast(type_, a) for type_, a in zip(types, arguments, strict=True)]
    func.CallOp([], ir.FlatSymbolRefAttr.get(name), operands)


def _cast(type_: ir.Type, argument: Any) -> ir.Value:
    value = index(argument)
    if isinstance(type_, ir.MemRefType) and value.type != type_:
        value = memref.cast(type_, value)
    return value
