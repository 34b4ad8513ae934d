"""`rlx`: the tools as subcommands of one."""

import difflib
import importlib
import sys

__all__ = ["main"]

_COMMANDS = {
    "generate": ("rlx.tools.rlx_generate", "continue a text with a language model"),
    "run": ("rlx.tools.rlx_run", "compile a checkpoint or an .mlir file and run it (rlx-run)"),
    "compile": ("rlx.tools.rlx_compile", "compile and write the code (rlx-compile)"),
    "opt": ("rlx.tools.rlx_opt", "run passes over MLIR (rlx-opt)"),
}


def _usage() -> str:
    lines = [f"  {name:<10} {text}" for name, (_, text) in _COMMANDS.items()]
    return "\n".join(
        [
            "usage: rlx COMMAND [ARGUMENTS]",
            "",
            "commands:",
            *lines,
            "",
            "rlx COMMAND --help says more",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    command = arguments[0] if arguments else ""
    if command in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if command == "--version":
        import rlx

        print(f"rlx {rlx.__version__}")
        return 0
    if command not in _COMMANDS:
        if not command:
            print(_usage(), file=sys.stderr)
            return 1
        near = difflib.get_close_matches(command, _COMMANDS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(_COMMANDS)}"
        print(f"rlx: error: unknown command '{command}'; {hint}", file=sys.stderr)
        return 1
    module, _ = _COMMANDS[command]
    return importlib.import_module(module).main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
