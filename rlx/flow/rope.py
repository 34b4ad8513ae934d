"""RoPE frequencies and tables, as Hugging Face configurations describe them.

Source of the formulas: `transformers`, ``modeling_rope_utils.py``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlx.flow.errors import ConfigError

__all__ = ["RopeSpec", "rope_tables"]

_KEYS = {
    "default": set(),
    "linear": {"factor"},
    "dynamic": {"factor"},
    "proportional": {"factor"},
    "llama3": {
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    },
    "yarn": {
        "factor",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
        "original_max_position_embeddings",
        "truncate",
    },
    "longrope": {
        "factor",
        "attention_factor",
        "long_factor",
        "original_max_position_embeddings",
        "short_factor",
    },
}
"""The fields that each type reads, beyond its name and ``rope_theta``."""


@dataclass(frozen=True)
class RopeSpec:
    """One RoPE parameterisation.

    Attributes:
        dim: how many dims rotate.
        theta: the base of the frequencies.
        kind: Hugging Face's ``rope_type``.
        fields: further fields of that type, sorted by name.
        max_positions: ``max_position_embeddings``.
        span: what frequencies are spread over, where that is more than the dims that rotate.
    """

    dim: int
    theta: float
    kind: str = "default"
    fields: tuple[tuple[str, Any], ...] = ()
    max_positions: int = 2048
    span: int | None = None

    @staticmethod
    def from_hf(
        parameters: Mapping[str, Any],
        dim: int,
        theta: float,
        max_positions: int,
        where: str,
        span: int | None = None,
    ) -> "RopeSpec":
        """Reads ``rope_parameters`` or ``rope_scaling``.

        Args:
            parameters: the object of the configuration.
            dim: how many dims rotate.
            theta: the base, where ``parameters`` does not give one.
            max_positions: ``max_position_embeddings``.
            where: names the object in errors.
            span: what frequencies are spread over; ``dim`` by default.

        Raises:
            ConfigError: an unknown type or field, or a field that is missing or of no use.
        """
        kind = parameters.get("rope_type", parameters.get("type", "default"))
        if not isinstance(kind, str) or kind not in _KEYS:
            raise ConfigError(f"{where}: unknown rope_type {kind!r}; known: {', '.join(_KEYS)}")
        fields = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in parameters.items()
            if key not in ("rope_type", "type", "rope_theta", "partial_rotary_factor")
            and value is not None
        }
        if kind in ("llama3", "yarn", "longrope"):
            fields.setdefault("original_max_position_embeddings", max_positions)
        if kind == "default":
            # Transformers does not look at leftovers of a scaling that is switched off.
            fields = {}
        unknown = sorted(set(fields) - _KEYS[kind])
        if unknown:
            raise ConfigError(f"{where}: rope_type '{kind}' has no field '{unknown[0]}'")
        required = {"linear": ["factor"], "dynamic": ["factor"]}.get(kind, [])
        if kind == "llama3":
            required = ["factor", "low_freq_factor", "high_freq_factor"]
        if kind == "longrope":
            required = ["long_factor", "short_factor"]
        for key in required:
            if key not in fields:
                raise ConfigError(f"{where}: rope_type '{kind}' requires the field '{key}'")
        base = parameters.get("rope_theta")
        if base is not None and (isinstance(base, bool) or not isinstance(base, int | float)):
            raise ConfigError(f"{where}: expected a number as 'rope_theta', got {base!r}")
        spec = RopeSpec(
            dim,
            float(theta if base is None else base),
            kind,
            tuple(sorted(fields.items())),
            max_positions,
            span,
        )
        spec._check(where)
        return spec

    def _check(self, where: str) -> None:
        if self.dim < 2 or self.dim % 2:
            raise ConfigError(f"{where}: expected an even number of rotated dims, got {self.dim}")
        if not self.theta > 1:
            raise ConfigError(f"{where}: expected rope_theta above 1, got {self.theta}")
        for key, value in self.fields:
            if key in ("long_factor", "short_factor"):
                if not isinstance(value, tuple) or len(value) != self.dim // 2:
                    raise ConfigError(f"{where}: expected {self.dim // 2} numbers in '{key}'")
            elif isinstance(value, bool) != (key == "truncate") or not isinstance(
                value, int | float
            ):
                raise ConfigError(f"{where}: expected a number as '{key}', got {value!r}")
            elif key != "truncate" and not value > 0 and not key.startswith("mscale"):
                raise ConfigError(f"{where}: expected '{key}' above 0, got {value!r}")
        given = dict(self.fields)
        if self.kind == "llama3" and not given["low_freq_factor"] < given["high_freq_factor"]:
            raise ConfigError(f"{where}: expected low_freq_factor below high_freq_factor")

    @property
    def limit(self) -> int | None:
        """How many positions the frequencies hold for; None for any number.

        Types that switch frequencies with the length of the sequence are supported up to the
        length at which they switch.
        """
        if self.kind == "dynamic":
            return self.max_positions
        if self.kind == "longrope":
            return int(dict(self.fields)["original_max_position_embeddings"])
        return None

    def frequencies(self) -> tuple[np.ndarray, float]:
        """Angles per position [dim / 2] in f64, and the factor of cosines and sines."""
        fields = dict(self.fields)
        span = self.span or self.dim
        plain = self.theta ** -(np.arange(0, self.dim, 2, dtype=np.float64) / span)
        if self.kind == "proportional":
            return plain / fields.get("factor", 1.0), 1.0
        if self.kind == "linear":
            return plain / fields["factor"], 1.0
        if self.kind == "llama3":
            return _llama3(plain, fields), 1.0
        if self.kind == "yarn":
            return self._yarn(plain, fields)
        if self.kind == "longrope":
            original = fields["original_max_position_embeddings"]
            scale = fields.get("factor") or self.max_positions / original
            attention = fields.get("attention_factor")
            if attention is None:
                attention = 1.0
                if scale > 1.0:
                    attention = math.sqrt(1 + math.log(scale) / math.log(original))
            return plain / np.asarray(fields["short_factor"], np.float64), attention
        # "dynamic" equals the default up to `limit`.
        return plain, 1.0

    def _yarn(self, plain: np.ndarray, fields: dict[str, Any]) -> tuple[np.ndarray, float]:
        original = fields["original_max_position_embeddings"]
        factor = fields.get("factor") or self.max_positions / original

        def magnitude(weight: float) -> float:
            return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

        attention = fields.get("attention_factor")
        if attention is None:
            attention = magnitude(1.0)
            if fields.get("mscale") and fields.get("mscale_all_dim"):
                attention = magnitude(fields["mscale"]) / magnitude(fields["mscale_all_dim"])

        def dim_of(rotations: float) -> float:
            turns = math.log(original / (rotations * 2 * math.pi))
            return self.dim * turns / (2 * math.log(self.theta))

        low = dim_of(fields.get("beta_fast", 32))
        high = dim_of(fields.get("beta_slow", 1))
        if fields.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, self.dim - 1)
        if low == high:
            high += 0.001
        ramp = np.clip((np.arange(self.dim // 2, dtype=np.float64) - low) / (high - low), 0, 1)
        return plain / factor * ramp + plain * (1 - ramp), attention


def _llama3(plain: np.ndarray, fields: dict[str, Any]) -> np.ndarray:
    """Long waves are stretched by ``factor``, short ones kept, those between interpolated."""
    low, high = fields["low_freq_factor"], fields["high_freq_factor"]
    turns = fields["original_max_position_embeddings"] * plain / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - smooth) * plain / fields["factor"] + smooth * plain


def rope_tables(spec: RopeSpec, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines [positions, dim / 2] in f32.

    Frequencies are rounded to f32 before they are multiplied with positions, as Transformers does.
    """
    frequencies, factor = spec.frequencies()
    rows = np.arange(positions, dtype=np.float32)[:, None]
    angles = (rows * frequencies.astype(np.float32)).astype(np.float64)
    return (
        (np.cos(angles) * factor).astype(np.float32),
        (np.sin(angles) * factor).astype(np.float32),
    )
