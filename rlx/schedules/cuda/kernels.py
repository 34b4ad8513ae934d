"""The kernels of a module, and their launches."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from rlx.host import arith, gpu, ir, memref

__all__ = ["CONTAINER", "Kernels", "Launch"]

CONTAINER = "kernels"
"""The `gpu.module` that all kernels are in."""

Size: TypeAlias = int | ir.Value
Launch: TypeAlias = Callable[..., None]
"""``launch(*arguments, grid=(x, y, z), shared=bytes, when=condition)``: emits a launch; of no block
where the condition, if there is one, does not hold."""


class Kernels:
    """The kernels of a module: functions of its `gpu.module`, one per distinct name."""

    def __init__(self, module: ir.Operation):
        self.module = module
        self._types: dict[str, list[ir.Type]] = {}
        self._names: dict[tuple[str, Any], str] = {}
        self._container: ir.Block | None = None

    def name(self, prefix: str, key: Any) -> str:
        """A name that is the same for equal keys: for kernels with many parameters."""
        if (prefix, key) not in self._names:
            taken = sum(other == prefix for other, _ in self._names)
            self._names[prefix, key] = f"{prefix}_{taken}"
        return self._names[prefix, key]

    def container(self) -> ir.Block:
        """The body of the `gpu.module`, made when there is none."""
        if self._container is None:
            block = self.module.regions[0].blocks[0]
            self._container = next(
                (
                    op.operation.regions[0].blocks[0]
                    for op in block.operations
                    if op.operation.name == "gpu.module"
                    and ir.StringAttr(op.operation.attributes["sym_name"]).value == CONTAINER
                ),
                None,
            ) or self._make(block)
        return self._container

    def _make(self, block: ir.Block) -> ir.Block:
        self.module.attributes["gpu.container_module"] = ir.UnitAttr.get()
        with ir.InsertionPoint.at_block_begin(block):
            made = ir.Operation.create(
                "gpu.module",
                attributes={"sym_name": ir.StringAttr.get(CONTAINER)},
                regions=1,
            )
        return made.regions[0].blocks.append()

    def define(
        self,
        name: str,
        types: Sequence[ir.Type],
        build: Callable[..., None],
        *,
        block: Sequence[int],
        attributes: dict[str, ir.Attribute] | None = None,
    ) -> Launch:
        """A function that emits a launch of kernel ``name``, which ``build`` emits once.

        Equal names must stand for equal kernels.

        Args:
            name: of the kernel.
            types: of its arguments.
            build: takes the arguments and emits the body, without the terminator.
            block: threads of a block, up to three sizes.
            attributes: further attributes of the `gpu.func`.
        """
        threads = (*block, 1, 1)[:3]
        if name not in self._types:
            self._types[name] = list(types)
            with ir.InsertionPoint(self.container()):
                function = gpu.GPUFuncOp(
                    ir.FunctionType.get(list(types), []),
                    name,
                    kernel=True,
                    known_block_size=list(threads),
                )
            for key, value in (attributes or {}).items():
                function.operation.attributes[key] = value
            entry = function.add_entry_block()
            with ir.InsertionPoint(entry):
                build(*entry.arguments)
                gpu.return_([])

        def launch(
            *arguments: Any,
            grid: Sequence[Size],
            shared: Size = 0,
            when: ir.Value | None = None,
        ) -> None:
            operands = [
                _fit(type_, argument)
                for type_, argument in zip(self._types[name], arguments, strict=True)
            ]
            bytes_ = None
            if not (isinstance(shared, int) and shared == 0):
                bytes_ = arith.index_cast(ir.IntegerType.get_signless(32), _index(shared))
            sizes = [_index(size) for size in (*grid, 1, 1)[:3]]
            if when is not None:
                sizes[0] = arith.select(when, sizes[0], _index(0))
            gpu.LaunchFuncOp(
                [CONTAINER, name],
                tuple(sizes),
                tuple(_index(size) for size in threads),
                kernel_operands=operands,
                dynamic_shared_memory_size=bytes_,
            )

        return launch


def _index(value: Size) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value) if isinstance(value, int) else value


def _fit(type_: ir.Type, argument: Any) -> ir.Value:
    """The argument in the type that the kernel takes; buffers of other static sizes are cast."""
    value = _index(argument)
    if isinstance(type_, ir.MemRefType) and value.type != type_:
        value = memref.cast(type_, value)
    return value
