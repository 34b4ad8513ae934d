"""BERT and sentence encoders made of it: ``model_type`` ``bert``."""

from dataclasses import dataclass

from rlx.flow.layout import Rename, Rule
from rlx.flow.mask import MaskKind
from rlx.flow.model_flow import ModelFlow, StageList
from rlx.flow.recipes.decoder_config import ACTIVATIONS
from rlx.flow.recipes.hf_config import HfConfig
from rlx.flow.stages import (
    LayerNormStage,
    LinearStage,
    MlpStage,
    SelfAttnPrefillSpec,
    SelfAttnPrefillStage,
)
from rlx.flow.stages.embed import AddEmbeddingStage, EmbedStage
from rlx.flow.stages.pool import ClsPoolStage, MeanPoolStage

__all__ = ["EncoderConfig", "bert_encoder_layer", "bert_flow", "bert_layout", "read_bert"]

POOLINGS = ("mean", "cls", None)


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder in the manner of BERT.

    Attributes:
        model_type: Hugging Face's name of the architecture.
        vocab_size: tokens.
        hidden_size: width of the hidden states.
        num_layers: how many layers.
        num_heads: heads per layer.
        intermediate_size: width of the feed-forward blocks.
        activation: of the feed-forward blocks, as in `rlx.glu`.
        norm_epsilon: added to the variance by every norm.
        max_positions: the longest sequence: rows of the position table.
        token_types: rows of the token type table.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    activation: str
    norm_epsilon: float
    max_positions: int
    token_types: int


def read_bert(hf: HfConfig) -> EncoderConfig:
    """Reads a ``BertConfig``; absent fields have its defaults.

    Raises:
        ConfigError: a field is malformed or asks for something that is not supported.
    """
    hf.ignore(
        "attention_probs_dropout_prob",
        "classifier_dropout",
        "directionality",
        "gradient_checkpointing",
        "hidden_dropout_prob",
        "model_type",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
        "tie_word_embeddings",
    )
    hf.refuse("position_embedding_type", "absolute", "only absolute positions are")
    hf.refuse("is_decoder", False, "only encoders are")
    hidden_size, num_heads = hf.size("hidden_size", 768), hf.size("num_attention_heads", 12)
    if hidden_size % num_heads:
        raise hf.error(
            f"expected hidden_size {hidden_size} to be a multiple of num_attention_heads "
            f"{num_heads}"
        )
    config = EncoderConfig(
        model_type="bert",
        vocab_size=hf.size("vocab_size", 30522),
        hidden_size=hidden_size,
        num_layers=hf.size("num_hidden_layers", 12),
        num_heads=num_heads,
        intermediate_size=hf.size("intermediate_size", 3072),
        activation=hf.choice("hidden_act", ACTIVATIONS, "gelu"),
        norm_epsilon=hf.get("layer_norm_eps", float, 1e-12),
        max_positions=hf.size("max_position_embeddings", 512),
        token_types=hf.size("type_vocab_size", 2),
    )
    hf.finish()
    return config


def bert_layout(prefix: str) -> tuple[Rule, ...]:
    """Older checkpoints say ``gamma`` and ``beta``."""
    layer = f"{prefix}encoder.layer.{{}}."
    norms = (f"{prefix}embeddings.", f"{layer}attention.output.", f"{layer}output.")
    return tuple(
        Rename(f"{norm}LayerNorm.{old}", f"{norm}LayerNorm.{new}")
        for norm in norms
        for old, new in (("gamma", "weight"), ("beta", "bias"))
    )


def bert_flow(config: EncoderConfig, *, prefix: str = "", pooling: str | None = None) -> ModelFlow:
    """The flow from token ids to hidden states, or to one vector per sequence.

    Its inputs are ``input_ids``, ``attention_mask`` (zero hides a token), ``token_type_ids`` and
    ``position_ids``, all i64 [B, S].

    Args:
        config: the model.
        prefix: what the names of its weights start with.
        pooling: ``"mean"`` of the tokens that are there, ``"cls"`` for the first token, or None.

    Returns:
        A flow with the output ``last_hidden_state`` [B, S, hidden_size] without pooling, and
        ``embedding`` [B, hidden_size] with it.

    Raises:
        ValueError: an unknown pooling.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"expected pooling 'mean', 'cls' or None, got {pooling!r}")
    width, tables = config.hidden_size, f"{prefix}embeddings."
    flow = ModelFlow(config.model_type)
    for name in ("input_ids", "attention_mask", "token_type_ids", "position_ids"):
        flow.input(name, ["B", "S"], "i64")
    flow.stage(EmbedStage(f"{tables}word_embeddings.weight", (config.vocab_size, width)))
    for table, rows, name in (
        ("token_type_embeddings", config.token_types, "token_type_ids"),
        ("position_embeddings", config.max_positions, "position_ids"),
    ):
        flow.stage(AddEmbeddingStage(f"{tables}{table}.weight", name, (rows, width)))
    flow.stage(_norm(config, f"{tables}LayerNorm"))
    flow.repeat_layers(
        config.num_layers,
        lambda index: bert_encoder_layer(config, f"{prefix}encoder.layer.{index}"),
    )
    if pooling is None:
        return flow.output("last_hidden_state")
    return flow.stage(MeanPoolStage() if pooling == "mean" else ClsPoolStage()).output("embedding")


def bert_encoder_layer(config: EncoderConfig, prefix: str) -> StageList:
    """Attention to every token that is there, then a feed-forward block; norms after each sum."""
    query, key, value = (f"{prefix}.attention.self.{x}.weight" for x in ("query", "key", "value"))
    heads = config.num_heads
    spec = (
        SelfAttnPrefillSpec(query, key, value, heads, config.hidden_size // heads, heads)
        .with_n_rot(0)
        .with_mask(MaskKind(keep="attention_mask"))
        .with_hf_bias()
    )
    out = f"{prefix}.attention.output"
    return (
        StageList()
        .residual_save()
        .stage(SelfAttnPrefillStage(spec))
        .stage(LinearStage(f"{out}.dense.weight", f"{out}.dense.bias", config.hidden_size))
        .residual_add()
        .stage(_norm(config, f"{out}.LayerNorm"))
        .residual_save()
        .stage(
            MlpStage(
                f"{prefix}.intermediate.dense.weight",
                f"{prefix}.output.dense.weight",
                config.activation,
                bias=True,
                intermediate_size=config.intermediate_size,
            )
        )
        .residual_add()
        .stage(_norm(config, f"{prefix}.output.LayerNorm"))
    )


def _norm(config: EncoderConfig, key: str) -> LayerNormStage:
    return LayerNormStage(f"{key}.weight", f"{key}.bias", config.norm_epsilon)
