"""``python -m bench cpu`` and ``python -m bench sweep``."""

import argparse
import sys
from pathlib import Path

from bench import cpu, sweep
from bench.cases import select
from bench.measure import OURS
from bench.peers import PEERS


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    table = commands.add_parser("cpu", help=cpu.__doc__)
    random = commands.add_parser("sweep", help=sweep.__doc__)
    for command in (table, random):
        add = command.add_argument
        add("--threads", type=int, default=1, help="as many cores are used (default: 1)")
        add("--dtypes", default="f32,bf16,int8", help="comma-separated (default: all)")
        add("--seconds", type=float, default=0.1, help="length of a turn (default: 0.1)")
        add("--rounds", type=int, default=5, help="turns of each tool (default: 5)")
        add("--python", default=sys.executable, help="interpreter that has the other tools")
        add("--peers", help=f"comma-separated (default: all): {', '.join(PEERS)}")
    table.add_argument("--rows", help="comma-separated names or patterns, such as A1,B*")
    table.add_argument("--quick", action="store_true", help="three short turns, nothing written")
    table.add_argument("--output", type=Path, default=cpu.RESULTS, help="folder for the results")
    random.add_argument("--seed", type=int, default=0)
    random.add_argument("--kinds", default=",".join(sweep.KINDS), help="comma-separated")
    random.add_argument("--count", type=int, default=6, help="shapes per kind (default: 6)")
    options = parser.parse_args(arguments)
    try:
        plan = _plan(options)
        if options.command == "cpu":
            cpu.run(plan)
        else:
            print(sweep.run(plan, options.kinds.split(","), options.seed, options.count))
    except ValueError as error:
        parser.error(str(error))


def _plan(options: argparse.Namespace) -> cpu.Plan:
    peers = [name for name in PEERS if name != OURS]
    if options.peers is not None:
        peers = [name for name in options.peers.split(",") if name]
        if unknown := set(peers) - set(PEERS):
            raise ValueError(f"unknown peers: {', '.join(sorted(unknown))}")
    quick = options.command == "cpu" and options.quick
    writes = options.command == "cpu" and not quick
    return cpu.Plan(
        cases=select(options.rows) if options.command == "cpu" else (),
        dtypes=options.dtypes.split(","),
        peers=peers,
        threads=options.threads,
        seconds=min(options.seconds, 0.03) if quick else options.seconds,
        rounds=min(options.rounds, 3) if quick else options.rounds,
        python=options.python,
        output=options.output if writes else None,
    )


if __name__ == "__main__":
    main()
