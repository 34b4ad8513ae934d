"""rlx beside other tools, on the same inputs: each command has its own --help."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import cpu, cuda, sweep
from bench.cases import select
from bench.cases.base import BYTES
from bench.client import PeerError
from bench.measure import OURS
from bench.peers import HELD, PEERS

_NAME = "python -m bench"
_OTHERS = [name for name in PEERS if name != OURS]
_EPILOG = """
environment:
  RLX_BENCH_DIR    where models are kept (default: rlx-bench in the folder for temporary files)
  RLX_BENCH_LLAMA  the folder with the libraries of llama.cpp; without it there is no llama.cpp
"""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "cuda":
            return _cuda(options)
        plan = _plan(options)
        if options.command == "cpu":
            cpu.run(plan)
        else:
            print(sweep.run(plan, options.kinds.split(","), options.seed, options.count))
        return 0
    except (ValueError, OSError, PeerError) as error:
        print(f"{_NAME}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_NAME,
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    add = _add_command(commands, "cpu", cpu)
    _add_timing(add)
    add("--rows", metavar="NAMES", help="names or patterns, such as A1,B* (default: all)")
    add("--quick", action="store_true", help="three short turns, nothing written")
    add("--output", type=Path, default=cpu.RESULTS, metavar="DIR", help="where results go")
    add("--readme", type=Path, metavar="FILE", help="a file whose section on speed is replaced")

    add = _add_command(commands, "sweep", sweep)
    _add_timing(add)
    add("--seed", type=int, default=0, metavar="N", help="of the shapes")
    add("--kinds", default=",".join(sweep.KINDS), help="of shapes")
    add("--count", type=int, default=6, metavar="N", help="shapes per kind")

    add = _add_command(commands, "cuda", cuda)
    add("--pack", type=Path, metavar="DIR", help="compile, and write a folder")
    add("--check", action="store_true", help="check and time what --pack writes")
    add("--quick", action="store_true", help="check only, no times")
    add("--arch", default="sm_80,sm_90a", help="what to compile for")
    return parser


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        nothing = action.default is None or action.default is False
        return action.help if nothing else super()._get_help_string(action)


def _add_command(commands: Any, name: str, module: ModuleType) -> Callable[..., Any]:
    """Adds a command that a module's docstring describes; returns what adds its arguments."""
    text = (module.__doc__ or "").replace("``", "'")
    parser = commands.add_parser(
        name,
        help=text.splitlines()[0],
        description=text,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    return parser.add_argument


def _add_timing(add: Callable[..., Any]) -> None:
    """What the commands that take times have in common."""
    add("--threads", type=int, default=1, metavar="N", help="as many cores are used")
    add("--dtypes", default=",".join(BYTES), help="of inputs and weights")
    add("--seconds", type=float, default=0.1, help="length of a turn")
    add("--rounds", type=int, default=11, metavar="N", help="turns of each tool")
    add("--python", default=sys.executable, help="interpreter that has the other tools")
    add("--isa", default="", help=f"hold all to an instruction set: {' or '.join(HELD)}")
    add("--peers", default=",".join(_OTHERS), help="other tools; those not installed are left out")


def _cuda(options: argparse.Namespace) -> int:
    from bench.cuda import run
    from bench.cuda.pack import pack

    if not options.pack and not options.check:
        raise ValueError("cuda: expected --pack DIR, --check, or both")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.pack or Path(temporary, "rlx-cuda")
        size = pack(folder, options.arch.split(","))
        print(f"{folder}: {size / 2**20:.1f} MiB")
        if not options.check:
            return 0
        return run.main(["--quick"] if options.quick else [], folder)


def _plan(options: argparse.Namespace) -> cpu.Plan:
    quick = options.command == "cpu" and options.quick
    writes = options.command == "cpu" and not quick
    return cpu.Plan(
        cases=select(options.rows) if options.command == "cpu" else (),
        dtypes=options.dtypes.split(","),
        peers=[name for name in options.peers.split(",") if name],
        threads=options.threads,
        seconds=min(options.seconds, 0.03) if quick else options.seconds,
        rounds=min(options.rounds, 3) if quick else options.rounds,
        python=options.python,
        output=options.output if writes else None,
        readme=options.readme if writes else None,
        isa=options.isa,
    )


if __name__ == "__main__":
    sys.exit(main())
