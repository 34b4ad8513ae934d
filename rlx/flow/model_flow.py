"""The assembly line: inputs, stages in order, outputs; and what a build of it gives."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlx import dtypes
from rlx.diagnostics import capture
from rlx.dialects import load_dialects
from rlx.flow import stages as st
from rlx.flow.context import Dim, FlowContext, FlowValue, TensorSpec
from rlx.flow.errors import FlowError
from rlx.flow.share import Layers
from rlx.flow.stage import Stage
from rlx.flow.weights import as_weights
from rlx.host import func, ir
from rlx.runtime.lazy import LazyArray

__all__ = ["BuiltModel", "ModelFlow", "StageList"]

Stages = Stage | Iterable[Stage]


@dataclass(frozen=True)
class BuiltModel:
    """A module and what its function takes and returns.

    The function's arguments are the inputs, then the parameters, in the order they have here.

    Attributes:
        name: the function's name.
        module: the IR.
        inputs: the flow's inputs.
        outputs: its outputs, side outputs last; a dynamic size is None.
        parameters: arrays of the parameters by name.
    """

    name: str
    module: ir.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: dict[str, np.ndarray | LazyArray]

    def text(self, *, locations: bool = False) -> str:
        """The IR as text, with ``loc(...)`` on request."""
        return self.module.operation.get_asm(enable_debug_info=locations)

    def __str__(self) -> str:
        return self.text()


class StageList:
    """Stages in order, with a method for each common one. Methods return the list itself."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Stage]] = []

    def __iter__(self) -> Any:
        return (stage for _, stage in self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    # -- structure -------------------------------------------------------------------------------

    def stage(self, stage: Stage):
        """Adds a stage.

        Raises:
            TypeError: it has no method ``emit``.
        """
        if not callable(getattr(stage, "emit", None)):
            raise TypeError(f"expected a stage, an object with emit(ctx, value), but got {stage!r}")
        self._steps.append(("", stage))
        return self

    def stages(self, stages: Stages):
        """Adds several stages: another :class:`StageList`, any iterable of stages, or one stage."""
        if isinstance(stages, StageList):
            self._steps += list(stages._steps)
            return self
        for stage in stages if isinstance(stages, Iterable) else [stages]:
            self.stage(stage)
        return self

    def named_layer(self, name: str, stages: Stages):
        """Adds stages whose locations and errors carry ``name``."""
        inner = StageList().stages(stages)
        self._steps += [(f"{name}, {own}" if own else name, stage) for own, stage in inner._steps]
        return self

    def repeat_layers(self, count: int, layer: Callable[[int], Stages]):
        """Adds the stages of ``layer(0)`` to ``layer(count - 1)``, as ``layer 0`` and so on."""
        for index in range(count):
            self.named_layer(f"layer {index}", layer(index))
        return self

    def when(self, condition: bool, change: Callable[[Any], Any]):
        """``change(self)`` if ``condition`` holds."""
        if condition:
            change(self)
        return self

    def patch(self, change: Callable[[Any], Any]):
        """``change(self)``: for adjustments that someone else hands in."""
        change(self)
        return self

    def custom(self, function: Callable[[FlowContext, FlowValue | None], Any], name: str = ""):
        """See :class:`rlx.flow.stages.CustomStage`."""
        return self.stage(st.CustomStage(function, name or getattr(function, "__name__", "")))

    # -- stages ----------------------------------------------------------------------------------

    def embed(self, weight_key: str = "model.embed_tokens.weight", scale: float | None = None):
        """Looks up token ids, and scales the rows."""
        self.stage(st.EmbedStage(weight_key))
        return self if scale is None else self.stage(st.ScaleStage(scale))

    def rope_tables(self, cos: np.ndarray, sin: np.ndarray, slot: str | None = None):
        """Makes RoPE tables known, under a slot if given."""
        if slot is None:
            return self.stage(st.RopeTablesStage(cos, sin))
        return self.stage(st.NamedRopeTablesStage(slot, cos, sin))

    def positions(self, input: str = "position_ids"):
        """See :class:`rlx.flow.stages.PositionsStage`."""
        return self.stage(st.PositionsStage(input))

    def rms_norm(self, weight_key: str, epsilon: float = 1e-6, weight_offset: float = 0.0):
        """See :class:`rlx.flow.stages.RmsNormStage`."""
        return self.stage(st.RmsNormStage(weight_key, epsilon, weight_offset))

    def final_norm(
        self,
        epsilon: float = 1e-6,
        weight_offset: float = 0.0,
        weight_key: str = "model.norm.weight",
    ):
        """The norm before the head."""
        return self.rms_norm(weight_key, epsilon, weight_offset)

    def linear(self, weight_key: str, bias_key: str | None = None):
        """See :class:`rlx.flow.stages.LinearStage`."""
        return self.stage(st.LinearStage(weight_key, bias_key))

    def residual_save(self, slot: str = "residual"):
        """See :class:`rlx.flow.stages.ResidualSaveStage`."""
        return self.stage(st.ResidualSaveStage(slot))

    def residual_add(self, slot: str = "residual"):
        """See :class:`rlx.flow.stages.ResidualAddStage`."""
        return self.stage(st.ResidualAddStage(slot))

    def swiglu(self, prefix: str):
        """The feed-forward block of the layer ``prefix``, with SiLU."""
        return self.stage(st.SwiGluStage.hf_layer(prefix))

    def geglu(self, prefix: str):
        """The feed-forward block of the layer ``prefix``, with the tanh form of GELU."""
        return self.stage(st.GeGluStage.hf_layer(prefix))

    def self_attn_prefill(self, spec: st.SelfAttnPrefillSpec):
        """See :class:`rlx.flow.stages.SelfAttnPrefillStage`."""
        return self.stage(st.SelfAttnPrefillStage(spec))

    def kv_tap(
        self,
        spec: st.SelfAttnPrefillSpec,
        name: str | None = None,
        sink: st.SideOutputs | None = None,
    ):
        """See :class:`rlx.flow.stages.GemmaKvTapStage`."""
        return self.stage(st.GemmaKvTapStage(spec, name, sink))

    def lm_head(self, weight_key: str = "lm_head.weight", softcap: float | None = None):
        """The head: makes the output ``logits``."""
        self.stage(st.LmHeadStage(weight_key))
        if softcap is not None:
            self.stage(st.LogitSoftcapStage(softcap))
        return self.output("logits")

    def output(self, name: str):
        """Makes what flows here an output of the model; it also flows on."""
        return self.stage(st.OutputStage(name))


class ModelFlow(StageList):
    """A model as a line of stages.

    ::

        flow = (
            ModelFlow("block")
            .input("hidden_states", ["B", "S", 64])
            .residual_save()
            .rms_norm("norm.weight")
            .linear("proj.weight")
            .residual_add()
            .output("hidden_states_out")
        )
        built = flow.build({"norm.weight": ..., "proj.weight": ...})

    What the first input holds flows into the first stage. Where no stage names an output, what
    flows out of the last stage is the output ``"output"``.

    Args:
        name: names the model in locations.
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name
        self.inputs: list[TensorSpec] = []

    def input(
        self, name: str, shape: Sequence[Dim], dtype: str = "f32", *, donated: bool = False
    ) -> "ModelFlow":
        """Adds an input.

        Args:
            name: its name.
            shape: sizes; None or a string for one that is known at run time only.
            dtype: element type in MLIR's spelling, such as ``"i64"``.
            donated: whether the model may write to the caller's array.

        Raises:
            FlowError: the name is taken, or dtype or shape are not valid.
        """
        if any(spec.name == name for spec in self.inputs):
            raise FlowError(f"there is already an input '{name}'")
        if dtype not in dtypes.NAMES:
            raise FlowError(
                f"input '{name}': unknown dtype '{dtype}'; expected one of "
                f"{', '.join(dtypes.NAMES)}"
            )
        for size in shape:
            valid = size is None or isinstance(size, str) or (isinstance(size, int) and size >= 0)
            if not valid:
                raise FlowError(
                    f"input '{name}': expected sizes, symbols or None, but got {size!r}"
                )
        self.inputs.append(TensorSpec(name, tuple(shape), dtype, donated))
        return self

    def copy(self) -> "ModelFlow":
        """A flow that can be changed without changing this one."""
        other = copy.copy(self)
        other._steps, other.inputs = list(self._steps), list(self.inputs)
        return other

    def build(self, weights: Any, *, context: ir.Context | None = None) -> BuiltModel:
        """Emits all stages into a new module.

        Args:
            weights: a mapping of arrays, a path to safetensors, or a
                :class:`rlx.flow.weights.WeightSource`.
            context: where to build; a new one by default.

        Raises:
            FlowError: the flow cannot be built; names stage, layer and key.
        """
        source = as_weights(weights)
        context = context or ir.Context()
        load_dialects(context)
        with context, ir.Location.name(self.name):
            ctx = FlowContext("main", self.inputs, source)
            value = next(iter(ctx.inputs.values()), None)
            with ir.InsertionPoint(ctx.block):
                layers, current = Layers(), ""
                for layer, stage in self._steps:
                    outermost = layer.partition(",")[0]
                    if outermost != current:
                        layers.mark(outermost)
                        current = outermost
                    with ctx.in_layer(layer):
                        value = ctx.run(stage, value)
                layers.mark("")
                if not ctx.outputs:
                    if value is None:
                        raise FlowError(f"flow '{self.name}' produces no output")
                    ctx.outputs["output"] = value
                results = {**ctx.outputs, **ctx.side_outputs}
                func.ReturnOp([result.value for result in results.values()])
            _close(ctx, self.inputs, results)
            outputs = tuple(_spec(name, value) for name, value in results.items())
            layers.share(ctx.module, ctx.block)
            ctx.forget()
            _verify(ctx.module, self.name)
            return BuiltModel(
                name="main",
                module=ctx.module,
                inputs=tuple(self.inputs),
                outputs=outputs,
                parameters=ctx.parameters,
            )


def _close(
    ctx: FlowContext, flow_inputs: Sequence[TensorSpec], results: dict[str, FlowValue]
) -> None:
    """Gives the function the type and the argument names that the stages asked for."""
    function_type = ir.FunctionType.get(
        [argument.type for argument in ctx.block.arguments],
        [result.type for result in results.values()],
    )
    ctx.function.attributes["function_type"] = ir.TypeAttr.get(function_type)
    inputs: list[dict[str, ir.Attribute]] = []
    for spec in flow_inputs:
        inputs.append({"rlx.name": ir.StringAttr.get(spec.name)})
        if spec.donated:
            inputs[-1]["bufferization.writable"] = ir.BoolAttr.get(True)
    parameters = [
        {"rlx.name": ir.StringAttr.get(name), "rlx.param": ir.UnitAttr.get()}
        for name in ctx.parameters
    ]
    ctx.function.attributes["arg_attrs"] = _dictionaries([*inputs, *parameters])
    ctx.function.attributes["res_attrs"] = _dictionaries(
        [{"rlx.name": ir.StringAttr.get(name)} for name in results]
    )


def _dictionaries(entries: list[dict[str, ir.Attribute]]) -> ir.ArrayAttr:
    return ir.ArrayAttr.get([ir.DictAttr.get(entry) for entry in entries])


def _spec(name: str, value: FlowValue) -> TensorSpec:
    return TensorSpec(name, value.shape, str(value.element_type))


def _verify(module: ir.Module, name: str) -> None:
    with capture(module.context) as found:
        try:
            module.operation.verify()
        except ir.MLIRError as error:
            found.add_mlir_error(error)
    if found.errors:
        text = "\n".join(map(str, found.errors))
        raise FlowError(f"flow '{name}' does not verify:\n{text}")
