"""Reading a Hugging Face ``config.json`` without guessing."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlx.flow.errors import ConfigError

__all__ = ["HfConfig"]

# Fields that say nothing about the numbers of a forward pass.
_HARMLESS = {
    "architectures",
    "attention_dropout",
    "attn_pdrop",
    "auto_map",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "decoder_start_token_id",
    "dtype",
    "embd_pdrop",
    "embedding_dropout",
    "eod_token_id",
    "eos_token_id",
    "finetuning_task",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "label2id",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "resid_pdrop",
    "residual_dropout",
    "return_dict",
    "router_aux_loss_coef",
    "sep_token_id",
    "task_specific_params",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_bfloat16",
    "use_cache",
}

# Fields of models that no recipe here describes; switched off they say nothing.
_HARMLESS_WHEN_FALSE = {
    "add_cross_attention",
    "is_encoder_decoder",
    "tie_encoder_decoder",
    "use_sliding_window",
}

_KIND_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


class HfConfig:
    """The fields of a configuration; knows which of them have been read.

    Args:
        fields: the configuration.
        where: names it in errors, such as a file name.

    Attributes:
        fields: the configuration.
        read: names of the fields that have been read.
    """

    def __init__(self, fields: Mapping[str, Any], where: str):
        self.fields = dict(fields)
        self.where = where
        self.read: set[str] = set()

    @staticmethod
    def load(path: str | Path) -> "HfConfig":
        """Reads a JSON file.

        Raises:
            ConfigError: it is not there or is not a JSON object.
        """
        path = Path(path)
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"no such configuration: {path}") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read configuration {path}: {error}") from None
        if not isinstance(fields, dict):
            raise ConfigError(f"expected a JSON object in {path}")
        return HfConfig(fields, str(path))

    def get(self, name: str, kind: type, default: Any) -> Any:
        """The field of that name; ``default`` where it is absent or null.

        Raises:
            ConfigError: it is of another kind.
        """
        self.read.add(name)
        value = self.fields.get(name)
        if value is None:
            return default
        fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if kind is float:
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits:
            wanted = _KIND_NAMES.get(kind, f"a JSON {kind.__name__}")
            raise self.error(f"expected {wanted} as '{name}', got {value!r}")
        return float(value) if kind is float else value

    def nullable(self, name: str, kind: type, default: Any) -> Any:
        """Like :meth:`get`, but null is a value of its own: None, not ``default``."""
        absent = name not in self.fields
        return self.get(name, kind, default if absent else None)

    def flags(self, *names: str, default: bool = False) -> list[bool]:
        """Several fields that are true or false."""
        return [self.get(name, bool, default) for name in names]

    def rename(self, names: Mapping[str, str]) -> None:
        """Makes fields known under other names; ``names`` has the file's name and ours."""
        for theirs, ours in names.items():
            if theirs in self.fields:
                self.fields.setdefault(ours, self.fields[theirs])
                self.read.add(theirs)

    def size(self, name: str, default: int | None) -> int:
        """A field that is an integer of at least 1."""
        value = self.get(name, int, default)
        if value is None:
            raise self.error(f"field '{name}' is missing")
        if value < 1:
            raise self.error(f"expected '{name}' of at least 1, got {value}")
        return value

    def choice(self, name: str, choices: Mapping[str, Any], default: str) -> Any:
        """What ``choices`` has for the text in the field."""
        value = self.get(name, str, default)
        if value not in choices:
            known = ", ".join(f"'{choice}'" for choice in choices)
            raise self.error(f"unsupported {name} '{value}'; supported: {known}")
        return choices[value]

    def section(self, name: str) -> "HfConfig | None":
        """A nested object; None where it is absent."""
        fields = self.get(name, dict, None)
        return None if fields is None else HfConfig(fields, f"{self.where}: {name}")

    def refuse(self, name: str, unless: Any, why: str) -> None:
        """Refuses the field when it is set to anything but ``unless``."""
        self.read.add(name)
        value = self.fields.get(name)
        if value is not None and value != unless:
            raise self.error(f"'{name}': {value!r} is not supported: {why}")

    def ignore(self, *names: str) -> None:
        """Marks fields as known to change nothing."""
        self.read.update(names)

    def finish(self) -> None:
        """Refuses fields that nobody has read.

        Raises:
            ConfigError: there is one that is set, and might change the result.
        """
        for name, value in self.fields.items():
            known = name in self.read or name in _HARMLESS or name.startswith("_")
            off = value is None or (value is False and name in _HARMLESS_WHEN_FALSE)
            if not known and not off:
                near = difflib.get_close_matches(name, sorted(self.read), 1, cutoff=0.8)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise self.error(
                    f"field '{name}' is not known for this model type and may change its result"
                    f"{hint}"
                )

    def error(self, message: str) -> ConfigError:
        return ConfigError(f"{self.where}: {message}")
