"""A feed-forward block of experts, of which each token uses a few."""

from dataclasses import dataclass

from rlx.dialects import emit
from rlx.dialects.glu import glu
from rlx.dialects.matmul import matmul
from rlx.dialects.rms_norm import rms_norm
from rlx.dialects.types import accumulator_type
from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.elementwise import add, scale, times_sigmoid
from rlx.flow.stages.linear import linear
from rlx.flow.stages.mlp import GatedMlpStage
from rlx.host import arith, ir, linalg, math, scf, tensor

__all__ = ["Experts", "GemmaMoeStage", "MoeStage", "choose_experts", "run_experts"]


@dataclass(frozen=True)
class Experts:
    """Gated feed-forward blocks ``down(activation(gate(x)) * up(x))`` of one size.

    Attributes:
        gate_key, up_key: weights [experts, intermediate, hidden]. The same key twice is one weight
            [experts, 2 * intermediate, hidden] that holds both, gates first.
        down_key: weights [experts, hidden, intermediate].
        count: how many experts there are.
        intermediate_size: width of each.
        activation: as in `rlx.glu`.
    """

    gate_key: str
    up_key: str
    down_key: str
    count: int
    intermediate_size: int
    activation: str = "silu"


def choose_experts(scores: ir.Value, top_k: int, *, normalize: bool) -> ir.Value:
    """The share of each expert in the result: zero for all but ``top_k`` of them.

    Args:
        scores: the router's [..., experts]; their softmax is what experts are chosen by. Among
            equal ones the first is chosen.
        top_k: how many experts a token uses.
        normalize: whether the shares of a token add up to 1.

    Returns:
        [..., experts] in f32 (f64 for f64).
    """
    wide = accumulator_type(scores.type.element_type)
    *rows, count = emit.sizes(scores)
    rank = len(rows) + 1
    row, full = emit.axes(rank - 1), emit.axes(rank)
    kinds, reduced = "p" * rank, "p" * (rank - 1) + "r"
    scores = emit.convert_tensor(scores, wide)

    def total(values: ir.Value) -> ir.Value:
        zeros = emit.fill(rows, wide, 0.0)
        return emit.generic([values], zeros, [full, row], reduced, lambda x, s: arith.addf(s, x))

    def divide(values: ir.Value, by: ir.Value) -> ir.Value:
        init = emit.empty([*rows, count], wide)
        return emit.generic(
            [values, by], init, [full, row, full], kinds, lambda x, y, _: arith.divf(x, y)
        )

    low = emit.fill(rows, wide, float("-inf"))
    most = emit.generic(
        [scores], low, [full, row], reduced, lambda x, best: arith.maximumf(x, best)
    )
    powers = emit.generic(
        [scores, most],
        emit.empty([*rows, count], wide),
        [full, row, full],
        kinds,
        lambda x, y, _: math.exp(arith.subf(x, y)),
    )
    shares = divide(powers, total(powers))

    # An expert is chosen when fewer than `top_k` come before it.
    integer = ir.IntegerType.get_signless(64)
    expert, other = ir.AffineExpr.get_dim(rank - 1), ir.AffineExpr.get_dim(rank)

    def count_better(mine: ir.Value, theirs: ir.Value, before: ir.Value) -> ir.Value:
        first = arith.cmpi(
            arith.CmpIPredicate.ult, linalg.IndexOp(rank).result, linalg.IndexOp(rank - 1).result
        )
        equal = arith.cmpf(arith.CmpFPredicate.OEQ, theirs, mine)
        better = arith.cmpf(arith.CmpFPredicate.OGT, theirs, mine)
        return arith.addi(before, arith.extui(integer, arith.ori(better, arith.andi(equal, first))))

    places = emit.generic(
        [shares, shares],
        emit.fill([*rows, count], integer, 0),
        [[*row, expert], [*row, other], [*row, expert]],
        kinds + "r",
        count_better,
    )

    def keep(share: ir.Value, place: ir.Value, _: ir.Value) -> ir.Value:
        chosen = arith.cmpi(arith.CmpIPredicate.ult, place, emit.constant(integer, top_k))
        return arith.select(chosen, share, emit.constant(wide, 0.0))

    init = emit.empty([*rows, count], wide)
    chosen = emit.generic([shares, places], init, [full] * 3, kinds, keep)
    return divide(chosen, total(chosen)) if normalize else chosen


def run_experts(ctx: FlowContext, experts: Experts, x: ir.Value, shares: ir.Value) -> ir.Value:
    """The sum of what experts make of ``x`` [..., hidden], times their ``shares`` [..., experts].

    Experts run one after the other, each on all rows, and not at all where no row uses them: for
    one row the cost is that of the experts it uses, for many it is that of all experts. Sums are
    f32 (f64 for f64).
    """
    element, hidden = x.type.element_type, x.type.shape[-1]
    wide = accumulator_type(element)
    size, count = experts.intermediate_size, experts.count
    packed = experts.gate_key == experts.up_key
    gates = ctx.param(experts.gate_key, [count, size * (2 if packed else 1), hidden], "experts")
    ups = gates if packed else ctx.param(experts.up_key, [count, size, hidden], "experts")
    downs = ctx.param(experts.down_key, [count, hidden, size], "experts")
    *rows, _ = emit.sizes(x)
    rank = len(rows) + 1
    row, full = emit.axes(rank - 1), emit.axes(rank)
    boolean = ir.IntegerType.get_signless(1)

    def grow(y: ir.Value, s: ir.Value, total: ir.Value) -> ir.Value:
        # Not times zero: what an expert makes of rows that do not use it may be infinite.
        unused = arith.cmpf(arith.CmpFPredicate.OEQ, s, emit.constant(wide, 0.0))
        grown = arith.addf(total, arith.mulf(emit.convert(y, wide), s))
        return arith.select(unused, total, grown)

    sums = emit.fill([*rows, hidden], wide, 0.0)
    loop = scf.ForOp(emit.index(0), emit.index(count), emit.index(1), [sums])
    with ir.InsertionPoint(loop.body):
        expert, sums = loop.induction_variable, loop.inner_iter_args[0]
        share = emit.extract_slice(shares, [*[0] * (rank - 1), expert], [*rows, 1])
        zero = [*row, ir.AffineExpr.get_constant(0)]
        used = emit.generic(
            [share],
            emit.fill([], boolean, False),
            [zero, []],
            "r" * (rank - 1),
            lambda x, seen: arith.ori(
                seen, arith.cmpf(arith.CmpFPredicate.UNE, x, emit.constant(wide, 0.0))
            ),
        )
        # Once or never: sums stay in one buffer through a loop, but not through a branch.
        times = arith.index_castui(ir.IndexType.get(), tensor.extract(used, []))
        once = scf.ForOp(emit.index(0), times, emit.index(1), [sums])
        with ir.InsertionPoint(once.body):
            gate = matmul(x, _pick(gates, expert, 0, size), transpose_weight=True)
            up = matmul(x, _pick(ups, expert, size if packed else 0, size), transpose_weight=True)
            inner = glu(gate, up, activation=experts.activation)
            result = matmul(inner, _pick(downs, expert, 0, hidden), transpose_weight=True)
            grown = emit.generic(
                [result, share],
                once.inner_iter_args[0],
                [full, zero, full],
                "p" * rank,
                grow,
            )
            scf.YieldOp([grown])
        scf.YieldOp([once.results[0]])
    return emit.convert_tensor(loop.results[0], element)


def _pick(weights: ir.Value, expert: ir.Value, start: int, rows: int) -> ir.Value:
    """Rows of the matrix of one expert."""
    columns = weights.type.shape[2]
    return emit.join_axes(emit.extract_slice(weights, [expert, start, 0], [1, rows, columns]), 0)


@dataclass(frozen=True)
class MoeStage:
    """A router and experts: each row [hidden] uses the ``top_k`` experts with the best scores.

    Attributes:
        router_key: weight [experts, hidden].
        experts: the experts.
        top_k: how many of them a row uses.
        normalize: whether their shares add up to 1.
        shared: prefix of the weights of one more expert, which all rows use, times the sigmoid of
            a projection with the weight ``{shared}_gate.weight`` [1, hidden]; None for none.
        shared_size: its width; None for any.
    """

    router_key: str
    experts: Experts
    top_k: int
    normalize: bool = True
    shared: str | None = None
    shared_size: int | None = None

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        hidden = ctx.need(value)
        if not hidden.shape or hidden.shape[-1] is None:
            raise ctx.error(f"expects rows [..., hidden], but got {hidden.type}")
        if not 1 <= self.top_k <= self.experts.count:
            raise ctx.error(
                f"expects top_k from 1 to the {self.experts.count} experts, but got {self.top_k}"
            )
        scores = linear(ctx, hidden.value, self.router_key, out_features=self.experts.count)
        shares = choose_experts(scores, self.top_k, normalize=self.normalize)
        result = run_experts(ctx, self.experts, hidden.value, shares)
        if self.shared is not None:
            result = add(result, self._shared(ctx, hidden, self.shared))
        return FlowValue(result)

    def _shared(self, ctx: FlowContext, hidden: FlowValue, prefix: str) -> ir.Value:
        gate_key, up_key, down_key = (f"{prefix}.{x}_proj.weight" for x in ("gate", "up", "down"))
        activation, size = self.experts.activation, self.shared_size
        stage = GatedMlpStage(gate_key, up_key, down_key, activation, intermediate_size=size)
        mlp = stage.emit(ctx, hidden)
        gate = linear(ctx, hidden.value, f"{prefix}_gate.weight", out_features=1)
        return times_sigmoid(mlp.value, gate)

    def place(self) -> str:
        return self.router_key


@dataclass(frozen=True)
class GemmaMoeStage:
    """The experts of Gemma 4: router and experts norm what flows each in their own way.

    Attributes:
        prefix: what the names of the router's weights start with: ``scale`` [hidden],
            ``proj.weight`` [experts, hidden] and ``per_expert_scale`` [experts].
        norm_key: weight [hidden] of the norm of what experts read.
        experts: the experts.
        top_k: how many of them a row uses.
        epsilon: of both norms.
    """

    prefix: str
    norm_key: str
    experts: Experts
    top_k: int
    epsilon: float

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        hidden = ctx.need(value)
        x, width, count = hidden.value, hidden.shape[-1], self.experts.count
        if not 1 <= self.top_k <= count:
            raise ctx.error(f"expects top_k from 1 to the {count} experts, but got {self.top_k}")
        router = rms_norm(x, ctx.param(f"{self.prefix}.scale", [width]), epsilon=self.epsilon)
        router = scale(router, x.type.shape[-1] ** -0.5, rounded=False)
        scores = linear(ctx, router, f"{self.prefix}.proj.weight", out_features=count)
        shares = choose_experts(scores, self.top_k, normalize=True)
        shares = _times(shares, ctx.param(f"{self.prefix}.per_expert_scale", [count]))
        normed = rms_norm(x, ctx.param(self.norm_key, [width]), epsilon=self.epsilon)
        return FlowValue(run_experts(ctx, self.experts, normed, shares))

    def place(self) -> str:
        return self.prefix


def _times(shares: ir.Value, factors: ir.Value) -> ir.Value:
    """``shares`` [..., experts] times ``factors`` [experts]."""
    wide, axes = shares.type.element_type, emit.axes(shares.type.rank)
    return emit.generic(
        [shares, factors],
        emit.empty(emit.sizes(shares), wide),
        [axes, axes[-1:], axes],
        "p" * len(axes),
        lambda x, y, _: arith.mulf(x, emit.convert(y, wide)),
    )
