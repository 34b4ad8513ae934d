"""`rlx-cuda-flatten-arguments` and `rlx-cuda-mark-kernels`: what kernels take, for the driver."""

from dataclasses import dataclass

from rlx.dialects.types import DYNAMIC
from rlx.host import arith, builtin, ir, memref
from rlx.passes.base import Pass, walk

__all__ = ["FlattenArguments", "MarkKernels", "dynamic_parts", "has_dynamic_offset"]

_TENSOR_MAPS = "rlx.tensor_maps"
"""Function attribute: the numbers of the arguments that are TMA descriptors."""

# A descriptor is 128 bytes, passed by value.
_TENSOR_MAP = "{llvm.byval = !llvm.array<128 x i8>, llvm.align = 64 : i64, nvvm.grid_constant}"

_ALIGNMENT = 16
_KERNEL = "gpu.kernel"


@dataclass(frozen=True)
class FlattenArguments(Pass):
    """Replaces each buffer that a kernel takes by a pointer and the sizes and strides not static.

    In this order: the pointer, the dynamic sizes, the dynamic strides. The pointer leads to the
    buffer's first element where the type has a dynamic offset, and to the first element of what the
    buffer is a part of where the offset is static.
    """

    name = "rlx-cuda-flatten-arguments"
    anchor = "gpu.module"

    def run(self, op: ir.Operation) -> None:
        for function in walk(op, "gpu.func"):
            # One that was parsed has another attribute than one that was built.
            if any(name in function.operation.attributes for name in ("kernel", _KERNEL)):
                _flatten(function.operation)


@dataclass(frozen=True)
class MarkKernels(Pass):
    """Passes TMA descriptors by value, and drops what `convert-gpu-to-nvvm` leaves twice.

    Runs after `convert-gpu-to-nvvm`, which has no words for the former.
    """

    name = "rlx-cuda-mark-kernels"
    anchor = "gpu.module"

    def run(self, op: ir.Operation) -> None:
        for function in walk(op, "llvm.func"):
            attributes = function.operation.attributes
            # Launches look for it, and MLIR does not read what has it twice.
            while _KERNEL in attributes:
                del attributes[_KERNEL]
            attributes[_KERNEL] = ir.UnitAttr.get()
            if _TENSOR_MAPS in attributes:
                _pass_by_value(function.operation)


def _pass_by_value(function: ir.Operation) -> None:
    numbers = list(ir.DenseI32ArrayAttr(function.attributes[_TENSOR_MAPS]))
    if "arg_attrs" in function.attributes:
        arguments = list(ir.ArrayAttr(function.attributes["arg_attrs"]))
    else:
        count = len(function.regions[0].blocks[0].arguments)
        arguments = [ir.DictAttr.get({}, function.context)] * count
    with function.context:
        for number in numbers:
            arguments[number] = ir.Attribute.parse(_TENSOR_MAP)
        function.attributes["arg_attrs"] = ir.ArrayAttr.get(arguments)
    del function.attributes[_TENSOR_MAPS]


def dynamic_parts(type_: ir.MemRefType) -> tuple[list[int], list[int]]:
    """The axes whose sizes, and whose strides, a kernel is passed as numbers."""
    marker = ir.ShapedType.get_dynamic_stride_or_offset()
    strides, _ = type_.get_strides_and_offset()
    if _is_identity(type_):
        strides = [0] * type_.rank
    return (
        [axis for axis in range(type_.rank) if type_.is_dynamic_dim(axis)],
        [axis for axis, stride in enumerate(strides) if stride == marker],
    )


def has_dynamic_offset(type_: ir.MemRefType) -> bool:
    _, offset = type_.get_strides_and_offset()
    return offset == ir.ShapedType.get_dynamic_stride_or_offset()


def _is_identity(type_: ir.MemRefType) -> bool:
    return type_.affine_map == ir.AffineMap.get_identity(type_.rank, type_.context)


def _flatten(function: ir.Operation) -> None:
    block = function.regions[0].blocks[0]
    before = list(block.arguments)
    types: list[ir.Type] = []
    attributes: list[dict[str, ir.Attribute]] = []
    maps: list[int] = []
    with function.context, function.location, ir.InsertionPoint.at_block_begin(block):
        index = ir.IndexType.get()
        i64 = ir.IntegerType.get_signless(64)

        def take(type_: ir.Type, **fields: ir.Attribute) -> ir.Value:
            types.append(type_)
            attributes.append({name.replace("_", "."): value for name, value in fields.items()})
            return block.add_argument(type_, function.location)

        for argument in before:
            type_ = argument.type
            if not isinstance(type_, ir.MemRefType):
                if str(type_).startswith("!nvgpu.tensormap"):
                    # What kernels are converted by knows no descriptors.
                    maps.append(len(types))
                    pointer = take(ir.Type.parse("!llvm.ptr"))
                    taken = builtin.unrealized_conversion_cast([type_], [pointer])
                else:
                    taken = take(type_)
                argument.replace_all_uses_with(taken)
                continue
            space = [type_.memory_space] if type_.memory_space is not None else []
            bare = ir.MemRefType.get([1], type_.element_type, None, *space)
            aligned = (
                {}
                if has_dynamic_offset(type_)
                else {"llvm_align": ir.IntegerAttr.get(i64, _ALIGNMENT)}
            )
            pointer = take(bare, **aligned)
            sizes, strides = dynamic_parts(type_)
            size = {axis: take(index) for axis in sizes}
            stride = {axis: take(index) for axis in strides}
            argument.replace_all_uses_with(_rebuild(type_, pointer, size, stride))
        for number in reversed(range(len(before))):
            block.erase_argument(number)
        function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(types, []))
        function.attributes["arg_attrs"] = ir.ArrayAttr.get(
            [ir.DictAttr.get(fields) for fields in attributes]
        )
        if maps:
            function.attributes[_TENSOR_MAPS] = ir.DenseI32ArrayAttr.get(maps)


def _rebuild(
    type_: ir.MemRefType, pointer: ir.Value, size: dict[int, ir.Value], stride: dict[int, ir.Value]
) -> ir.Value:
    """The buffer, of its pointer and what is not static."""
    strides, offset = type_.get_strides_and_offset()
    if _is_identity(type_):
        stride, strides = _row_major(type_, size)
    offsets = []
    if has_dynamic_offset(type_):
        offsets, offset = [arith.constant(ir.IndexType.get(), 0)], DYNAMIC
    return memref.reinterpret_cast(
        type_,
        pointer,
        offsets,
        [size[axis] for axis in sorted(size)],
        [stride[axis] for axis in sorted(stride)],
        [offset],
        list(type_.shape),
        strides,
    )


def _row_major(
    type_: ir.MemRefType, size: dict[int, ir.Value]
) -> tuple[dict[int, ir.Value], list[int]]:
    """Strides of a contiguous buffer: the dynamic ones, and all with a marker for those."""
    dynamic: dict[int, ir.Value] = {}
    strides = [1] * type_.rank
    static, value = 1, None
    for axis in reversed(range(type_.rank)):
        if value is None:
            strides[axis] = static
        else:
            strides[axis], dynamic[axis] = DYNAMIC, value
        if type_.is_dynamic_dim(axis):
            factor = size[axis]
        else:
            factor = arith.constant(ir.IndexType.get(), type_.shape[axis])
        if value is not None:
            value = arith.muli(value, factor)
        elif type_.is_dynamic_dim(axis):
            value = arith.muli(factor, arith.constant(ir.IndexType.get(), static))
        else:
            static *= type_.shape[axis]
    return dynamic, strides
