"""The stages: one file each, see :class:`rlx.flow.stage.Stage`."""

from rlx.flow.stages.custom import CustomStage
from rlx.flow.stages.decode import (
    BindDecodeInputsStage,
    GemmaDecodeLayerStage,
    LlamaDecodeLayerStage,
    SelfAttnDecodeStage,
    TapStage,
)
from rlx.flow.stages.embed import AddEmbeddingStage, EmbedStage, ScaleStage
from rlx.flow.stages.gemma_kv_tap import GemmaKvTapStage, SideOutputs
from rlx.flow.stages.kv_cache import (
    CacheLengthsStage,
    SelectRowsStage,
    SelfAttnCachedStage,
)
from rlx.flow.stages.layer_norm import LayerNormStage
from rlx.flow.stages.learned_positions import LearnedPositionsStage
from rlx.flow.stages.linear import LinearStage
from rlx.flow.stages.lm_head import LmHeadStage
from rlx.flow.stages.logit_softcap import LogitSoftcapStage
from rlx.flow.stages.mlp import GatedMlpStage, GeGluStage, MlpStage, SwiGluStage
from rlx.flow.stages.moe import Experts, GemmaMoeStage, MoeStage
from rlx.flow.stages.output import OutputStage
from rlx.flow.stages.per_layer import (
    LayerScalarStage,
    PerLayerInputsStage,
    PerLayerInputStage,
)
from rlx.flow.stages.pool import ClsPoolStage, MeanPoolStage
from rlx.flow.stages.residual import (
    ResidualAddStage,
    ResidualRecallStage,
    ResidualSaveStage,
)
from rlx.flow.stages.rms_norm import RmsNormStage
from rlx.flow.stages.rope_tables import NamedRopeTablesStage, PositionsStage, RopeTablesStage
from rlx.flow.stages.self_attn_prefill import (
    HeadNorm,
    SelfAttnPrefillSpec,
    SelfAttnPrefillStage,
)

__all__ = [
    "BindDecodeInputsStage",
    "AddEmbeddingStage",
    "CacheLengthsStage",
    "ClsPoolStage",
    "CustomStage",
    "EmbedStage",
    "Experts",
    "GatedMlpStage",
    "GeGluStage",
    "GemmaDecodeLayerStage",
    "GemmaKvTapStage",
    "GemmaMoeStage",
    "HeadNorm",
    "LayerNormStage",
    "LayerScalarStage",
    "LearnedPositionsStage",
    "LinearStage",
    "LlamaDecodeLayerStage",
    "LmHeadStage",
    "LogitSoftcapStage",
    "MeanPoolStage",
    "MlpStage",
    "MoeStage",
    "NamedRopeTablesStage",
    "OutputStage",
    "PerLayerInputStage",
    "PerLayerInputsStage",
    "PositionsStage",
    "ResidualAddStage",
    "ResidualRecallStage",
    "ResidualSaveStage",
    "RmsNormStage",
    "RopeTablesStage",
    "ScaleStage",
    "SelectRowsStage",
    "SelfAttnCachedStage",
    "SelfAttnDecodeStage",
    "SelfAttnPrefillSpec",
    "SelfAttnPrefillStage",
    "SideOutputs",
    "SwiGluStage",
    "TapStage",
]
