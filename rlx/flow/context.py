"""What stages share while a flow is built: the function that grows, weights, and named state."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from rlx import dtypes
from rlx.dialects.base import Invalid
from rlx.dialects.types import DYNAMIC
from rlx.flow.errors import FlowError, MissingRopeError, MissingWeightError, WeightError
from rlx.flow.stage import Stage
from rlx.flow.weights import WeightSource
from rlx.host import func, ir
from rlx.runtime.lazy import LazyArray

__all__ = ["FlowContext", "FlowState", "FlowValue", "TensorSpec"]

Dim = int | str | None
"""A size, a symbol for a size that is known at run time, or None for one without a name."""


@dataclass(frozen=True)
class TensorSpec:
    """Name and type of an input, an output or a parameter.

    Attributes:
        name: its `rlx.name`.
        shape: sizes; a string or None is dynamic.
        dtype: MLIR's spelling of the element type, such as ``"bf16"``.
        donated: of an input, whether the model may write to the caller's array.
    """

    name: str
    shape: tuple[Dim, ...]
    dtype: str = "f32"
    donated: bool = False

    def mlir_type(self) -> ir.RankedTensorType:
        sizes = [size if isinstance(size, int) else DYNAMIC for size in self.shape]
        return ir.RankedTensorType.get(sizes, ir.Type.parse(self.dtype))

    def __str__(self) -> str:
        dims = "".join(f"{'?' if size is None else size}x" for size in self.shape)
        return f"{self.name}: {dims}{self.dtype}"


@dataclass(frozen=True)
class FlowValue:
    """A tensor on its way through the stages."""

    value: ir.Value

    @property
    def type(self) -> ir.RankedTensorType:
        return self.value.type

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Sizes; None where they are known at run time only."""
        return tuple(None if size == DYNAMIC else size for size in self.type.shape)

    @property
    def element_type(self) -> ir.Type:
        return self.type.element_type


@dataclass
class FlowState:
    """What stages leave for later stages.

    Attributes:
        rope: RoPE tables: ``rope_cos``, ``rope_sin``, and ``{slot}_cos``, ``{slot}_sin``.
        positions: position of every row, [S] or [B, S]; None where rows count from 0.
        residuals: values saved for a later add.
        named: anything else, by name.
    """

    rope: dict[str, ir.Value] = field(default_factory=dict)
    positions: ir.Value | None = None
    residuals: dict[str, FlowValue] = field(default_factory=dict)
    named: dict[str, FlowValue] = field(default_factory=dict)


class FlowContext:
    """One build of a flow. Made by :meth:`rlx.flow.ModelFlow.build`.

    Attributes:
        module: the module that is built.
        function: its function; parameters become arguments as stages ask for them.
        weights: where parameters come from.
        state: what stages leave for each other.
        inputs: the flow's inputs by name.
        parameters: arrays of the parameters so far, in argument order.
        outputs: values that the function returns, by name and in order.
        side_outputs: further values that it returns, after ``outputs``.
        layer: name of the current layer, or "".
        label: the stage that runs, as in ``"LinearStage(layer 3)"``.
    """

    def __init__(self, name: str, inputs: Sequence[TensorSpec], weights: WeightSource):
        self.weights = weights
        self.state = FlowState()
        self.parameters: dict[str, np.ndarray | LazyArray] = {}
        self.outputs: dict[str, FlowValue] = {}
        self.side_outputs: dict[str, FlowValue] = {}
        self.layer = ""
        self.label = ""
        self._parameter_values: dict[str, ir.Value] = {}
        types = [spec.mlir_type() for spec in inputs]
        self.module = ir.Module.create(ir.Location.name(name))
        with ir.InsertionPoint(self.module.body):
            self.function = func.FuncOp(name, (types, []), loc=ir.Location.name(name))
        locations = [ir.Location.name(spec.name) for spec in inputs]
        self.block = ir.Block.create_at_start(self.function.regions[0], types, locations)
        self.inputs = {
            spec.name: FlowValue(argument)
            for spec, argument in zip(inputs, self.block.arguments, strict=True)
        }

    # -- stages ----------------------------------------------------------------------------------

    def run(self, stage: Stage, value: FlowValue | None) -> FlowValue | None:
        """Emits ``stage``: its ops carry its label as location, and so do its errors."""
        outer = self.label
        self.label = self._label_of(stage)
        try:
            with ir.Location.name(self.label):
                return stage.emit(self, value)
        except FlowError as error:
            if not error.stage:
                error.stage = self.label
            raise
        except Invalid as error:
            raise self.error(str(error)) from None
        finally:
            self.label = outer

    def _label_of(self, stage: Stage) -> str:
        where = self.layer or _layer_in(getattr(stage, "place", str)())
        return f"{type(stage).__name__}({where})" if where else type(stage).__name__

    @contextlib.contextmanager
    def in_layer(self, name: str) -> Iterator[None]:
        """Names the layer that stages belong to meanwhile."""
        outer = self.layer
        self.layer = f"{outer}, {name}" if outer else name
        try:
            yield
        finally:
            self.layer = outer

    def error(self, message: str) -> FlowError:
        """An error that names the stage that runs."""
        return FlowError(message, self.label)

    def need(self, value: FlowValue | None) -> FlowValue:
        """``value``, which the stage cannot do without.

        Raises:
            FlowError: there is none.
        """
        if value is None:
            raise self.error("requires a value to flow in, but nothing flows here")
        return value

    def input(self, name: str, why: str = "") -> FlowValue:
        """The model input of that name.

        Raises:
            FlowError: the flow does not declare it.
        """
        if name not in self.inputs:
            reason = f" ({why})" if why else ""
            raise self.error(
                f"requires the model input '{name}'{reason}, but the flow declares "
                f"{', '.join(self.inputs) or 'no inputs'}"
            )
        return self.inputs[name]

    # -- parameters ------------------------------------------------------------------------------

    def param(self, key: str, shape: Sequence[int | None] | None = None, why: str = "") -> ir.Value:
        """The parameter of that key: loaded once, however often it is asked for.

        Args:
            key: its name in the weight source.
            shape: the expected shape; None for a size that does not matter.
            why: where an expected size comes from, for the error message.

        Raises:
            MissingWeightError: the source has no such key.
            WeightError: it has another rank or shape.
        """
        if key not in self._parameter_values:
            try:
                array = self.weights.get(key)
            except MissingWeightError as error:
                raise MissingWeightError(error.message, self.label) from None
            self._check_shape(key, array.shape, shape, why)
            return self.constant(key, array)
        self._check_shape(key, self.parameters[key].shape, shape, why)
        return self._parameter_values[key]

    def _check_shape(
        self, key: str, found: Sequence[int], wanted: Sequence[int | None] | None, why: str
    ) -> None:
        if wanted is None:
            return
        agrees = len(found) == len(wanted) and all(
            want in (None, size) for size, want in zip(found, wanted, strict=True)
        )
        if not agrees:
            shape = "[" + ", ".join("?" if size is None else str(size) for size in wanted) + "]"
            reason = f" ({why})" if why else ""
            raise WeightError(
                f"expects weight '{key}' of shape {shape}{reason}, but it is {list(found)} in "
                f"{self.weights.origin(key)}",
                self.label,
            )

    def constant(self, name: str, array: np.ndarray | LazyArray) -> ir.Value:
        """A parameter whose data is computed here and not loaded, such as a RoPE table.

        Raises:
            FlowError: the name is taken, or the dtype has no counterpart in MLIR.
        """
        if name in self._parameter_values or name in self.inputs:
            raise self.error(f"the name '{name}' is already taken")
        try:
            element = dtypes.to_mlir(array.dtype)
        except TypeError as error:
            raise self.error(f"parameter '{name}': {error}") from None
        value = self.block.add_argument(
            ir.RankedTensorType.get(array.shape, element), ir.Location.name(name)
        )
        self.parameters[name] = array
        self._parameter_values[name] = value
        return value

    # -- state -----------------------------------------------------------------------------------

    def rope_tables(self, slot: str | None = None) -> tuple[ir.Value, ir.Value]:
        """Cosine and sine tables, of the default slot or a named one.

        Raises:
            MissingRopeError: no stage has made them; the cosine table is looked up first.
        """
        found = []
        for part in ("cos", "sin"):
            name = f"{slot}_{part}" if slot is not None else f"rope_{part}"
            if name not in self.state.rope:
                if slot is None:
                    message = (
                        f"requires RoPE tables, but '{name}' is not set; "
                        "emit a RopeTablesStage first"
                    )
                else:
                    message = (
                        f"requires the RoPE tables of slot '{slot}', but '{name}' is not set; "
                        f"emit a NamedRopeTablesStage for '{slot}' first"
                    )
                raise MissingRopeError(message, self.label)
            found.append(self.state.rope[name])
        return found[0], found[1]

    def side_output(self, name: str, value: FlowValue) -> None:
        """Makes the function return ``value``, under ``name``, after its other results.

        Raises:
            FlowError: the name is taken.
        """
        if name in self.side_outputs or name in self.outputs:
            raise self.error(f"there is already an output '{name}'")
        self.side_outputs[name] = value

    def forget(self) -> None:
        """Lets go of all values: the build is over, and some of them are gone."""
        self.state = FlowState()
        self.inputs, self.outputs, self.side_outputs = {}, {}, {}
        self._parameter_values = {}


def _layer_in(place: str) -> str:
    """``"layer 3"`` for ``"model.layers.3.mlp"``, the text itself where there is no number."""
    for part in place.split("."):
        if part.isdigit():
            return f"layer {part}"
    return place
