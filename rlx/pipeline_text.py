"""The grammar of pipeline text, which is MLIR's: ``op(pass,pass{option=value},op(pass))``."""

from dataclasses import dataclass

from rlx.options import skip_group

__all__ = ["Element", "PipelineError", "parse_elements"]

_DEEPEST = 100


class PipelineError(ValueError):
    """The pipeline text is wrong: says where, and what was probably meant.

    Attributes:
        message: what is wrong.
        text: the pipeline.
        offset: where in it, in characters.
    """

    def __init__(self, message: str, text: str, offset: int):
        start = text.rfind("\n", 0, offset) + 1
        line = text[start:].split("\n", 1)[0]
        indent = "".join("\t" if char == "\t" else " " for char in text[start:offset])
        super().__init__(f"{message}\n  {line}\n  {indent}^" if line.strip() else message)
        self.message = message
        self.text = text
        self.offset = offset


@dataclass(frozen=True)
class Element:
    """``name{options}``, or ``name(children)`` when ``children`` is not None.

    Attributes:
        offset: where the name begins.
        options: the text between the braces, None when there are none.
        options_offset: where that text begins.
    """

    name: str
    offset: int
    options: str | None = None
    options_offset: int = 0
    children: tuple["Element", ...] | None = None


def parse_elements(text: str) -> tuple[Element, ...]:
    """The outermost elements of ``text``.

    Raises:
        PipelineError: the text does not follow the grammar.
    """
    parser = _Parser(text)
    elements = parser.elements()
    if parser.peek():
        raise parser.fail(f"expected ',' in pipeline, but got '{parser.peek()}'")
    return elements


class _Parser:
    """A position in the text."""

    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.depth = 0

    def fail(self, message: str, at: int | None = None) -> PipelineError:
        return PipelineError(message, self.text, self.at if at is None else at)

    def peek(self) -> str:
        """The next character that is not a blank; "" at the end."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at] if self.at < len(self.text) else ""

    def elements(self) -> tuple[Element, ...]:
        found: list[Element] = []
        if self.peek() in ("", ")"):
            return ()
        while True:
            found.append(self.element())
            if self.peek() != ",":
                return tuple(found)
            self.at += 1

    def element(self) -> Element:
        self.peek()
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in ",(){}":
            if self.text[self.at].isspace():
                break
            self.at += 1
        if start == self.at:
            raise self.fail("expected the name of a pass or op in pipeline")
        name = self.text[start : self.at]
        if self.peek() == "(":
            return Element(name, start, children=self.parentheses())
        if self.peek() == "{":
            return Element(name, start, *self.braces())
        return Element(name, start)

    def parentheses(self) -> tuple[Element, ...]:
        opening = self.at
        self.at += 1
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.fail(f"pipeline nests deeper than {_DEEPEST} levels", opening)
        children = self.elements()
        if self.peek() not in ("", ")"):
            raise self.fail(f"expected ',' or ')' in pipeline, but got '{self.peek()}'")
        if not self.peek():
            raise self.fail("'(' is never closed", opening)
        self.at += 1
        self.depth -= 1
        return children

    def braces(self) -> tuple[str, int]:
        opening = self.at
        end = skip_group(self.text, opening)
        if end < 0:
            raise self.fail("'{' is never closed", opening)
        self.at = end
        return self.text[opening + 1 : end - 1], opening + 1
