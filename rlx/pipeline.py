"""Pipeline text to a run: MLIR's grammar over upstream passes, rlx passes and named pipelines.

    builtin.module(rlx-fuse-gqa,func.func(canonicalize,cse{}),rlx-cpu{threads=2})

The Python bindings cannot register Python passes by name, so the text is parsed here. Every leaf
runs on its own: an upstream pass through a host pass manager that nests as the text does, an rlx
pass on each op that the nesting selects. That gives every leaf its own verification, timing and
dump, through :class:`Instrumentation`.
"""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rlx import options, registry
from rlx.diagnostics import CompileError, Diagnostics, capture, emit
from rlx.host import ir, passmanager

__all__ = ["Instrumentation", "Leaf", "PipelineError", "parse_pipeline", "run_pipeline"]


class PipelineError(ValueError):
    """The pipeline text is wrong: says where, and what was probably meant."""

    def __init__(self, message: str, text: str, offset: int):
        super().__init__(f"{message}\n  {text}\n  {' ' * offset}^")
        self.message = message
        self.offset = offset


@dataclass(frozen=True)
class Leaf:
    """One pass of a resolved pipeline.

    Attributes:
        anchors: ops to nest into, outermost first, such as ``("builtin.module", "func.func")``.
        name: the pass argument.
        options: option text without braces.
        instance: the rlx pass, or None for an upstream one.
    """

    anchors: tuple[str, ...]
    name: str
    options: str = ""
    instance: Any = None

    @property
    def text(self) -> str:
        """The leaf as pipeline text of its own."""
        body = self.name + (f"{{{self.options}}}" if self.options else "")
        for anchor in reversed(self.anchors):
            body = f"{anchor}({body})"
        return body


@dataclass
class Instrumentation:
    """Callbacks around every leaf: dumps, timing and the like hook in here.

    Attributes:
        before, after, failed: called with the leaf and the op that the pipeline runs on.
        verify_each: whether the IR is verified after every pass.
        remarks: whether remarks of rlx passes are wanted.
    """

    before: list[Callable[[Leaf, ir.Operation], None]] = field(default_factory=list)
    after: list[Callable[[Leaf, ir.Operation], None]] = field(default_factory=list)
    failed: list[Callable[[Leaf, ir.Operation], None]] = field(default_factory=list)
    verify_each: bool = True
    remarks: bool = True


@dataclass(frozen=True)
class _Element:
    """What the grammar knows: ``name{options}`` or ``name(children)``."""

    name: str
    offset: int
    options: str = ""
    options_offset: int = 0
    children: tuple["_Element", ...] | None = None


class _Parser:
    def __init__(self, text: str):
        self.text = text
        self.at = 0

    def fail(self, message: str, at: int | None = None) -> PipelineError:
        return PipelineError(message, self.text, self.at if at is None else at)

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def peek(self) -> str:
        self.space()
        return self.text[self.at] if self.at < len(self.text) else ""

    def whole(self) -> tuple[_Element, ...]:
        elements = self.elements()
        if self.peek():
            raise self.fail(f"unexpected '{self.peek()}' in pipeline")
        return elements

    def elements(self) -> tuple[_Element, ...]:
        found: list[_Element] = []
        if self.peek() in ("", ")"):
            return ()
        while True:
            found.append(self.element())
            if self.peek() != ",":
                return tuple(found)
            self.at += 1

    def element(self) -> _Element:
        self.space()
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in ",(){} \t\n":
            self.at += 1
        name = self.text[start : self.at]
        if not name:
            raise self.fail("expected a pass or op name in pipeline")
        if self.peek() == "(":
            opening = self.at
            self.at += 1
            children = self.elements()
            if self.peek() != ")":
                raise self.fail("'(' is never closed", opening)
            self.at += 1
            return _Element(name, start, children=children)
        if self.peek() == "{":
            opening = self.at
            return _Element(name, start, self.braces(), opening + 1)
        return _Element(name, start)

    def braces(self) -> str:
        opening, depth, quote = self.at, 0, ""
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if quote:
                quote = "" if char == quote else quote
            elif char in "\"'":
                quote = char
            else:
                depth += (char == "{") - (char == "}")
            if depth == 0:
                return self.text[opening + 1 : self.at - 1]
        raise self.fail("'{' is never closed", opening)


def parse_pipeline(text: str, root: str = "builtin.module") -> list[Leaf]:
    """The passes that ``text`` stands for, named pipelines expanded.

    Args:
        text: ``builtin.module(...)``, or the inside of it.
        root: name of the op that the pipeline will run on.

    Raises:
        PipelineError: bad syntax, an unknown name or option, or a bad nesting.
    """
    elements = _Parser(text).whole()
    if len(elements) == 1 and elements[0].children is not None and elements[0].name == root:
        elements = elements[0].children
    return list(_resolve(elements, (root,), text))


def _resolve(elements: tuple[_Element, ...], anchors: tuple[str, ...], text: str) -> Iterator[Leaf]:
    for element in elements:
        if element.children is not None:
            yield from _resolve(element.children, (*anchors, element.name), text)
            continue
        cls = registry.pass_class(element.name) or registry.pipeline_class(element.name)
        if cls is None:
            yield _upstream(element, anchors, text)
            continue
        try:
            instance = options.parse(cls, element.options, element.name)
        except options.OptionError as error:
            raise PipelineError(str(error), text, element.options_offset + error.offset) from None
        if registry.pipeline_class(element.name) is not None:
            yield from _resolve(_Parser(instance.text()).whole(), anchors, instance.text())
        else:
            yield Leaf(anchors, element.name, options.render(instance)[1:-1], instance)


def _upstream(element: _Element, anchors: tuple[str, ...], text: str) -> Leaf:
    leaf = Leaf(anchors, element.name, element.options)
    with ir.Context():
        try:
            passmanager.PassManager.parse(leaf.text)
        except ValueError:
            near = difflib.get_close_matches(
                element.name, [*registry.pass_names(), *registry.pipeline_names()], 1
            )
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise PipelineError(
                f"unknown pass '{element.name}'{hint}", text, element.offset
            ) from None
    return leaf


def _selected(root: ir.Operation, anchors: tuple[str, ...]) -> list[ir.Operation]:
    """The ops that a nesting selects: at each level the immediate children of that name."""
    chosen = [root]
    for anchor in anchors:
        chosen = [
            child.operation
            for parent in chosen
            for region in parent.regions
            for block in region.blocks
            for child in block.operations
            if anchor in ("any", child.operation.name)
        ]
    return chosen


def _run_leaf(leaf: Leaf, root: ir.Operation) -> None:
    if leaf.instance is None:
        manager = passmanager.PassManager.parse(leaf.text)
        manager.enable_verifier(False)
        manager.run(root)
        return
    from rlx.passes.base import PassFailure

    for op in _selected(root, leaf.anchors[1:]):
        try:
            leaf.instance.run(op)
        except PassFailure as failure:
            emit("error", failure.where, str(failure))


def run_pipeline(
    module: ir.Module | ir.Operation,
    text: str,
    instrumentation: Instrumentation | None = None,
) -> Diagnostics:
    """Runs pipeline text on a module, in place, in the module's own context.

    Args:
        module: the module, or another op that the text's outermost anchor names.
        text: the pipeline.
        instrumentation: callbacks around every pass.

    Returns:
        The warnings and remarks that were reported.

    Raises:
        PipelineError: the text is wrong; nothing ran.
        CompileError: a pass failed or left invalid IR.
    """
    root = module.operation
    hooks = instrumentation or Instrumentation()
    leaves = parse_pipeline(text, root.name)
    with root.context, capture(root.context, hooks.remarks) as found:
        for leaf in leaves:
            for before in hooks.before:
                before(leaf, root)
            try:
                _run_leaf(leaf, root)
                if hooks.verify_each and not found.errors:
                    root.verify()
            except ir.MLIRError as error:
                found.add_mlir_error(error)
            if found.errors:
                for failed in hooks.failed:
                    failed(leaf, root)
                raise CompileError(f"pass '{leaf.name}' failed", tuple(found.entries))
            for after in hooks.after:
                after(leaf, root)
    return found
