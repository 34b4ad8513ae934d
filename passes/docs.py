"""`docs/Passes.md`, from the declarations of passes and pipelines.

python -m rlx.passes.docs > docs/Passes.md
"""

import inspect
import re

from rlx import options, registry

__all__ = ["markdown"]

_HEAD = """\
# Passes and pipelines

This page is made from the declarations in `passes/` and `rlx/targets/` by
`python -m rlx.passes.docs`.

Each is a name in pipeline text, next to the passes of MLIR itself:
`rlx-opt in.mlir --pass-pipeline='builtin.module(rlx-fuse,func.func(canonicalize,cse))'`. Options
follow in braces, as in `name{flag=true list=1,2}`; on the command line of `rlx-opt` the same is
`--name="flag=true list=1,2"`. `rlx-opt --dump-pass-pipeline` shows what a pipeline stands for.
"""


def markdown() -> str:
    """The page; passes of plugins are left out."""
    passes = {name: registry.pass_class(name) for name in registry.pass_names()}
    pipelines = {name: registry.pipeline_class(name) for name in registry.pipeline_names()}
    parts = [_HEAD]
    for title, classes in (("Passes", passes), ("Pipelines", pipelines)):
        parts.append(f"## {title}\n")
        parts += [_entry(n, c) for n, c in classes.items() if c.__module__.startswith("rlx.")]
    return "\n".join(parts)


def _entry(name: str, cls: type) -> str:
    lines = [f"### `{name}`", "", _prose(cls.__doc__ or ""), ""]
    if anchor := getattr(cls, "anchor", None):
        lines += [f"Runs on `{anchor}`.", ""]
    rows = options.describe(cls)
    if rows:
        lines += ["| option | type | default | meaning |", "|---|---|---|---|"]
    for key, type_, default, doc in rows:
        shown = f"`{default}`" if default else "required"
        lines.append("| " + " | ".join((f"`{key}`", type_, shown, doc)).replace("\n", " ") + " |")
    return "\n".join(lines).rstrip() + "\n"


def _prose(docstring: str) -> str:
    """A docstring as Markdown: its indented blocks are code in both."""
    text = re.sub(r"^::\n\n", "", inspect.cleandoc(docstring), flags=re.MULTILINE)
    text = re.sub(r" ?::$", ":", text, flags=re.MULTILINE)
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


if __name__ == "__main__":
    print(markdown(), end="")
