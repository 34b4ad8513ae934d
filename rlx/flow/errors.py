"""What goes wrong while a flow is built."""

__all__ = ["ConfigError", "FlowError", "MissingRopeError", "MissingWeightError", "WeightError"]


class FlowError(ValueError):
    """A flow cannot be built. The text names stage, layer and key where there are any.

    Attributes:
        message: the text without the stage.
        stage: label of the stage that failed, such as ``"LinearStage(layer 3)"``, or "".
    """

    def __init__(self, message: str, stage: str = ""):
        super().__init__(message, stage)
        self.message = message
        self.stage = stage

    def __str__(self) -> str:
        return f"{self.stage}: {self.message}" if self.stage else self.message


class MissingRopeError(FlowError, KeyError):
    """A stage wants RoPE tables that no earlier stage has made."""


class WeightError(FlowError):
    """A weight file is damaged, or a weight does not fit the model."""


class MissingWeightError(WeightError, KeyError):
    """A weight source has no such key."""


class ConfigError(FlowError):
    """A model configuration cannot be read, or asks for something that is not supported."""
