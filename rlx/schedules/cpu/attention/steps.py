"""The kernels for the steps; those that need to know little are shared by problems."""

from collections.abc import Callable
from typing import Any

from rlx.host import ir
from rlx.schedules.cpu.attention import ahead, pack, products, softmax, stream
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.code import Kernel, Kernels

__all__ = ["Steps", "StreamSteps", "TileSteps"]


class Steps:
    """What every form of attention does."""

    def __init__(self, a: Problem, kernels: Kernels):
        self.a, self.kernels = a, kernels
        self.index = index = ir.IndexType.get()
        turn = [] if a.query_rotation is None else a.query_rotation.types
        key = a.query_rotation and a.query_rotation.key
        self.load_queries = self.define(
            pack.load_queries,
            [a.storage, a.queries, *[index] * 4, *turn],
            (str(a.element), a.dims, a.repeat, a.scale, a.softcap, key),
        )
        self.softmax = self.define(
            softmax.softmax, [a.scores, a.stats, a.totals, a.stats, a.spans, index], ()
        )
        self.hide = self.define(
            softmax.hide,
            [a.scores, a.spans, *[index] * 8, *([] if a.mask is None else [a.mask])],
            (a.repeat, a.causal, a.left, a.right, str(a.mask)),
        )
        self.cap: Kernel | None = None
        if a.softcap:
            self.cap = self.define(softmax.cap, [a.scores, a.spans, index], (a.softcap,))

    def define(self, build: Callable[..., None], types: list[ir.Type], key: Any) -> Kernel:
        """A kernel that is shared where ``key`` says all there is to say."""
        full = (self.a.isa.name, self.a.p, key)
        name = self.kernels.name(f"rlx_attention_{build.__name__}", full)
        return self.kernels.define(name, types, lambda *given: build(self.a, *given))


class TileSteps(Steps):
    """Keys and values are packed in tiles."""

    def __init__(self, a: Problem, kernels: Kernels):
        super().__init__(a, kernels)
        index, element = self.index, str(a.element)
        turn = [] if a.key_rotation is None else a.key_rotation.types
        self.pack_keys = self.define(
            pack.pack_keys,
            [a.storage, a.key_tiles, *[index] * 5, *turn],
            (element, a.dims, a.key_rotation and a.key_rotation.key),
        )
        self.pack_values = self.define(
            pack.pack_values, [a.storage, a.value_tiles, *[index] * 5], (element, a.v_dims)
        )
        self.score = self.define(
            products.score,
            [a.queries, a.key_tiles, a.scores, a.spans, index, index, *ahead.types(a)],
            (element, a.dims, a.v_dims, a.repeat),
        )
        add = [a.scores, a.value_tiles, a.sums, a.stats, a.spans, index, index]
        self.add_values = self.define(products.add_values, add, (a.v_padded,))
        self.add_safely = self.define(products.add_safely, add, (a.v_padded,))


class StreamSteps(Steps):
    """Keys and values are read as they lie in memory."""

    def __init__(self, a: Problem, kernels: Kernels):
        super().__init__(a, kernels)
        index, element = self.index, str(a.element)
        self.score = self.define(
            stream.score_rows, [a.queries, a.storage, a.scores, *[index] * 6], (element, a.dims)
        )
        self.scale = self.define(stream.scale, [a.sums, a.stats, index], (a.v_padded,))
        add = [a.scores, a.storage, a.sums, *[index] * 6]
        self.add_values = self.define(stream.add_rows, add, (element, a.v_dims))
        self.add_safely = self.define(stream.add_rows_safely, add, (element, a.v_dims))
