"""The assembly line: stages that turn a model description and weights into IR."""

from rlx.flow.context import FlowContext, FlowState, FlowValue, TensorSpec
from rlx.flow.errors import (
    ConfigError,
    FlowError,
    MissingRopeError,
    MissingWeightError,
    WeightError,
)
from rlx.flow.mask import MaskKind
from rlx.flow.model_flow import BuiltModel, ModelFlow, StageList
from rlx.flow.stage import Stage
from rlx.flow.weights import CastWeights, DictWeights, SafetensorsWeights, WeightSource

__all__ = [
    "BuiltModel",
    "CastWeights",
    "ConfigError",
    "DictWeights",
    "FlowContext",
    "FlowError",
    "FlowState",
    "FlowValue",
    "MaskKind",
    "MissingRopeError",
    "MissingWeightError",
    "ModelFlow",
    "SafetensorsWeights",
    "Stage",
    "StageList",
    "TensorSpec",
    "WeightError",
    "WeightSource",
]
