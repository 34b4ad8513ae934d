"""What is done once more where values turn out not to be finite."""

from collections.abc import Callable

from rlx.host import arith, ir
from rlx.schedules.cpu import code

__all__ = ["attempts"]


def attempts(body: Callable[[ir.Value], ir.Value]) -> None:
    """Calls ``body``, emitted once, and once more if it gives NaN.

    It takes whether this is the second time.
    """
    bit = ir.IntegerType.get_signless(1)

    def attempt(number: ir.Value, wanted: ir.Value) -> list[ir.Value]:
        again = arith.cmpi(arith.CmpIPredicate.ne, number, code.index(0))

        def run() -> list[ir.Value]:
            flag = body(again)
            return [arith.cmpf(arith.CmpFPredicate.UNO, flag, flag)]

        return code.if_(wanted, run, lambda: [wanted], [bit])

    code.loop(0, 2, 1, attempt, [code.true()])
