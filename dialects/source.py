"""Reading modules, where the host alone would be stricter than the dialect."""

from collections.abc import Callable

from rlx.dialects.concat import ConcatOp, common_type
from rlx.host import ir, tensor

__all__ = ["parse"]

Reader = Callable[[ir.Context], ir.Module]


def parse(read: Reader, context: ir.Context) -> ir.Module:
    """What ``read`` parses in ``context``, which has the dialect.

    IRDL demands one type for all operands of a variadic list, so `rlx.concat` with several sizes
    does not verify as it stands. Where the first attempt fails, the source is read again as ops of
    an unknown dialect, and casts to a common type are put before such operands.

    Args:
        read: parses the source in the context it is given; called more than once.
        context: where the module shall be.

    Raises:
        MLIRError: the source is not valid.
    """
    try:
        return read(context)
    except ir.MLIRError as error:
        relaxed = _with_common_types(read)
        if relaxed is None:
            raise error
    return ir.Module.parse(relaxed, context)


def _with_common_types(read: Reader) -> str | None:
    """The source as text, with casts before operands of `rlx.concat`; None if none are due."""
    with ir.Context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True
        try:
            module = read(context)
        except ir.MLIRError:
            return None
        if not sum(map(_cast_rest, _concats(module))):
            return None
        return module.operation.get_asm(enable_debug_info=True)


def _concats(module: ir.Module) -> list[ir.Operation]:
    """The ops in question, in any order.

    An op of an unknown dialect may have a name that Python cannot decode, at which a walk of the
    host ends the process and a loop raises.
    """
    found: list[ir.Operation] = []
    rest: list[ir.Operation] = [module.operation]
    try:
        while rest:
            op = rest.pop()
            if op.name == ConcatOp.OPERATION_NAME:
                found.append(op)
            rest += [i.operation for r in op.regions for b in r.blocks for i in b.operations]
    except UnicodeDecodeError:
        return []
    return found


def _cast_rest(op: ir.Operation) -> bool:
    """Casts the operands of ``op`` after the first to one type, if they differ in sizes only."""
    rest = list(op.operands)[1:]
    ranked = all(isinstance(value.type, ir.RankedTensorType) for value in rest)
    if not ranked or len({(value.type.element_type, value.type.rank) for value in rest}) != 1:
        return False
    common = common_type([value.type for value in rest])
    with ir.InsertionPoint(op), op.location:
        for index, value in enumerate(rest, start=1):
            if value.type != common:
                op.operands[index] = tensor.cast(common, value)
    return any(value.type != common for value in rest)
