"""Checks of data that a model makes in each layer, though they find the same each time.

Whether two of them do depends on sizes, which only a call tells; the kernels are marked here whose
launches with equal parameters need not be repeated.
"""

from rlx.host import ir
from rlx.passes.base import walk

__all__ = ["ONCE", "mark_checks"]

ONCE = "rlx.once"
"""Attribute of a launch: what it reads stays as it is from there on, and all it does is to tell."""

_READS = (
    "memref.dim",
    "memref.extract_aligned_pointer_as_index",
    "memref.load",
    "vector.load",
)
_VIEWS = (
    "memref.cast",
    "memref.collapse_shape",
    "memref.expand_shape",
    "memref.extract_strided_metadata",
    "memref.reinterpret_cast",
    "memref.subview",
)


def mark_checks(function: ir.Operation, kernels: ir.Operation) -> None:
    """Marks launches of checks in a function.

    Args:
        function: one block of launches and arithmetic on sizes.
        kernels: the `gpu.module`.
    """
    functions = {
        ir.StringAttr(kernel.attributes["sym_name"]).value: kernel.operation
        for kernel in walk(kernels, "gpu.func")
    }
    launches = list(walk(function, "gpu.launch_func"))
    names = [str(launch.attributes["kernel"]).rpartition("@")[2] for launch in launches]
    users: dict[ir.Value, list[tuple[int, int]]] = {}
    for at, launch in enumerate(launches):
        for number, value in enumerate(launch.kernelOperands):
            users.setdefault(_root(value), []).append((at, number))

    def stays(buffer: ir.Value, check: int) -> bool:
        """Whether a buffer is the check's own, or nobody writes to it from there on."""
        root = _root(buffer)
        if not isinstance(root.owner, ir.Block):
            if root.owner.operation.name == "memref.get_global":
                return True  # a constant, or the status
            if {use.owner.operation for use in root.uses} == {launches[check].operation}:
                return True
        return not any(
            at >= check and _is_written(functions[names[at]], number) for at, number in users[root]
        )

    for at, launch in enumerate(launches):
        buffers = [v for v in launch.kernelOperands if isinstance(v.type, ir.MemRefType)]
        if names[at].startswith("check") and all(stays(buffer, at) for buffer in buffers):
            launch.attributes[ONCE] = ir.UnitAttr.get(function.context)


def _root(value: ir.Value) -> ir.Value:
    """The buffer that a view looks at."""
    while not isinstance(value.owner, ir.Block) and value.owner.operation.name in _VIEWS:
        value = value.owner.operation.operands[0]
    return value


def _is_written(kernel: ir.Operation, number: int) -> bool:
    """Whether a kernel may write to its argument."""
    pending: list[ir.Value] = [kernel.regions[0].blocks[0].arguments[number]]
    while pending:
        value = pending.pop()
        for use in value.uses:
            user = use.owner.operation
            if user.name in _VIEWS:
                pending.append(user.results[0])
            elif user.name == "nvgpu.device_async_copy":
                if user.operands[0] == value:
                    return True
            elif user.name not in _READS:
                return True
    return False
