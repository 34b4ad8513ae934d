"""Text in, text out: a language model with its tokenizer."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rlx.models import Model

__all__ = ["TextError", "TextGenerator", "generate"]

_FILE = "tokenizer.json"


class TextError(ValueError):
    """A tokenizer that cannot be used, or a prompt that the model cannot take."""


@dataclass
class Timing:
    """How long a generation took.

    Attributes:
        prompt_tokens, new_tokens: how many there were.
        prefill_seconds: from the prompt to the first logits.
        decode_seconds: from the first new token to the last.
    """

    prompt_tokens: int = 0
    new_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0

    def __str__(self) -> str:
        parts = [_rate("prefill", self.prompt_tokens, self.prefill_seconds)]
        if self.new_tokens > 1:
            parts.append(_rate("decode", self.new_tokens - 1, self.decode_seconds))
        return ", ".join(parts)


def _rate(what: str, tokens: int, seconds: float) -> str:
    return (
        f"{what}: {tokens} tokens in {seconds:.3f} s ({tokens / max(seconds, 1e-9):.1f} tokens/s)"
    )


def generate(
    directory: str | Path,
    prompt: str,
    max_new_tokens: int = 64,
    *,
    callback: Callable[[str], Any] | None = None,
    tokenizer: str | Path | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int | None = None,
    **options: Any,
) -> str:
    """Continues a text.

    Args:
        directory: a checkpoint in Hugging Face layout, or a GGUF file.
        prompt: the text, as the tokenizer takes it: chat templates are not applied.
        max_new_tokens: how many tokens at most to add.
        callback: called with each piece of text as it is found.
        tokenizer: a ``tokenizer.json``; by default the one beside the weights.
        temperature, top_p, top_k, seed: see :class:`rlx.runtime.sampling.Sampler`.
        options: of :func:`rlx.load_model`, such as ``dtype`` and ``quantize``.

    Returns:
        What follows the prompt.

    Raises:
        TextError: there is no tokenizer, or the prompt is empty or too long.
        ValueError: another argument is wrong, or the model cannot be loaded.
    """
    generator = TextGenerator.load(directory, tokenizer=tokenizer, **options)
    stream = generator.stream(
        prompt, max_new_tokens, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed
    )
    pieces = []
    for piece in stream:
        pieces.append(piece)
        if callback is not None:
            callback(piece)
    return "".join(pieces)


class TextGenerator:
    """A language model with its tokenizer.

    Args:
        model: the model.
        tokenizer: a ``tokenizers.Tokenizer``.
        limit: how many tokens prompt and continuation may have; by default what the model can.

    Attributes:
        timing: of the last generation that ran to its end.
    """

    def __init__(self, model: "Model", tokenizer: Any, limit: int | None = None):
        self.model = model
        self.tokenizer = tokenizer
        self.limit = model.max_positions if limit is None else limit
        self.timing = Timing()

    @staticmethod
    def load(
        directory: str | Path,
        *,
        tokenizer: str | Path | None = None,
        progress: Callable[[str], None] | None = None,
        **options: Any,
    ) -> "TextGenerator":
        """Loads both from a checkpoint, and compiles the model.

        Args:
            directory: a checkpoint in Hugging Face layout, or a GGUF file.
            tokenizer: a ``tokenizer.json``; by default the one beside the weights.
            progress: called with the name of each step as it begins.
            options: of :func:`rlx.load_model`.

        Raises:
            TextError: there is no tokenizer, or the model makes no text.
            ValueError: the model cannot be loaded.
        """
        from rlx.models import Model, load_model

        path = Path(directory)
        if progress is not None:
            progress("load")
        model = load_model(path, progress=progress, **options)
        if not isinstance(model, Model):
            raise TextError(f"{path} holds an encoder, which makes no text")
        folder = path.parent if path.suffix == ".gguf" else path
        found = _load_tokenizer(Path(tokenizer) if tokenizer else folder / _FILE)
        _ = model.decoder
        return TextGenerator(model, found, options.get("capacity"))

    def tokens(self, prompt: str) -> list[int]:
        """The ids of a text, special tokens included.

        Raises:
            TextError: there are none, or one that the model does not have.
        """
        ids = self.tokenizer.encode(prompt).ids
        if not ids:
            raise TextError("expected a prompt of at least one token, got an empty one")
        size = self.model.config.vocab_size
        if max(ids) >= size:
            token = self.tokenizer.id_to_token(max(ids))
            raise TextError(
                f"the tokenizer has id {max(ids)} for {token!r}, but the model has {size} tokens"
            )
        return ids

    def stream(self, prompt: str, max_new_tokens: int = 64, **options: Any) -> Iterator[str]:
        """Continues a text, and yields pieces as they are found.

        Args:
            prompt: the text.
            max_new_tokens: how many tokens at most to add.
            options: of :meth:`rlx.models.Model.stream`.

        Raises:
            TextError: the prompt is empty or too long.
            ValueError: an option is wrong.
        """
        ids = self.tokens(prompt)
        if len(ids) + max_new_tokens > self.limit:
            raise TextError(
                f"expected a prompt and new tokens of at most {self.limit} together, got "
                f"{len(ids)} and {max_new_tokens}"
            )
        self.timing = timing = Timing(len(ids))
        start = time.perf_counter()
        steps = self.model.stream(np.array([ids]), max_new_tokens, **options)
        timing.prefill_seconds = time.perf_counter() - start
        return self._pieces(steps, timing)

    def _pieces(self, steps: Iterator[np.ndarray], timing: Timing) -> Iterator[str]:
        text = _Pieces(self.tokenizer)
        start = None
        for (token,) in steps:
            now = time.perf_counter()
            start = now if start is None else start
            timing.new_tokens += 1
            timing.decode_seconds = now - start
            if piece := text.add(int(token)):
                yield piece
        if piece := text.rest():
            yield piece


class _Pieces:
    """Tokens to text, one by one.

    What a token stands for can depend on its neighbours: a character may take several tokens, and
    blanks at the beginning may go. So tokens are decoded together with those before them, and a
    piece waits while it ends in half a character.
    """

    _LONGEST = 4  # bytes of a character, so tokens at most

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        self.context = 0  # decoding begins here
        self.done = 0  # up to here it has been given out
        self.waiting = 0  # tokens since then that ended in half a character

    def add(self, token: int) -> str:
        """What can be given out after another token."""
        self.ids.append(token)
        before, now = self._decode(self.done), self._decode(len(self.ids))
        self.waiting += now.endswith("\ufffd")
        incomplete = now.endswith("\ufffd") and self.waiting < self._LONGEST
        if len(now) <= len(before) or incomplete:
            return ""
        self.context, self.done, self.waiting = self.done, len(self.ids), 0
        return now[len(before) :]

    def rest(self) -> str:
        """What has been held back."""
        return self._decode(len(self.ids))[len(self._decode(self.done)) :]

    def _decode(self, end: int) -> str:
        return self.tokenizer.decode(self.ids[self.context : end], skip_special_tokens=True)


def _load_tokenizer(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise TextError("text needs the package tokenizers: pip install tokenizers") from None
    if not path.is_file():
        raise TextError(f"no tokenizer: expected {path}")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise TextError(f"cannot read tokenizer {path}: {error}") from None
