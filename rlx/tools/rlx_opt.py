"""`rlx-opt`: runs passes on IR, as mlir-opt does.

The command line is parsed here; the rest happens in a child process (see
:mod:`rlx.tools.supervisor`), so that a crash of the host is an error message and exit code 1.
"""

import os
import sys
import traceback

from rlx.tools.arguments import Arguments, UsageError, parse_arguments
from rlx.tools.files import FileError
from rlx.tools.supervisor import Phase, supervise

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: arguments without the program's name; those of the process by default.

    Returns:
        The exit code, 0 or 1.
    """
    try:
        args = parse_arguments(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        _complain(f"rlx-opt: error: {error}; see 'rlx-opt --help'")
        return 1
    name = "<stdin>" if args.input == "-" else args.input

    def work(phase: Phase) -> int:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            return _work(args, phase)
        except BrokenPipeError:
            # The reader of our output is gone; nothing must be written when Python exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        except (FileError, UsageError) as error:
            _complain(f"rlx-opt: error: {error}")
        except Exception as error:
            _complain(f"{name}: error: internal error: {type(error).__name__}: {error}")
            if args.rlx_traceback:
                traceback.print_exception(error)
            else:
                _complain("note: --rlx-traceback shows where")
        return 1

    def crashed(last: dict[str, str], signal_name: str) -> int:
        _complain(f"{name}: error: crashed ({signal_name}) while {last['what']}")
        if "reproducer" in last:
            os.replace(last["unfinished"], last["reproducer"])
            _complain(f"note: a reproducer is in {last['reproducer']}")
        if "command" in last:
            _complain(f"note: to reproduce: {last['command']}")
        return 1

    return supervise(work, crashed)


def _complain(message: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()


def _work(args: Arguments, phase: Phase) -> int:
    phase.set("loading the MLIR host")
    try:
        import rlx.host  # noqa: F401
    except ImportError as error:  # no bindings, or not those that RLX_MLIR asks for
        _complain(f"rlx-opt: error: {error}")
        return 1
    from rlx.registry import PluginError
    from rlx.tools import describe, driver

    try:
        if describe.asked(args):
            describe.answer(args)
            return 0
        return driver.run(args, phase)
    except PluginError as error:
        _complain(f"rlx-opt: error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
