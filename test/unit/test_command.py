"""What the commands have in common: how they end."""

import subprocess
import sys

import pytest

from rlx.diagnostics import CompileError
from rlx.runtime import LoadError
from rlx.tools.command import execute


@pytest.mark.parametrize(
    "error", [CompileError("bad"), LoadError("bad"), ValueError("bad"), OSError("bad")]
)
def test_errors_are_one_line(error, capsys):
    def work(progress):
        raise error

    assert execute("rlx-some", work) == 1
    assert capsys.readouterr() == ("", "rlx-some: error: bad\n")


def test_an_interrupt_says_nothing(capsys):
    def work(progress):
        raise KeyboardInterrupt

    assert execute("rlx-some", work) == 130
    assert capsys.readouterr() == ("", "")


def test_mistakes_of_rlx_are_not_hidden():
    def work(progress):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        execute("rlx-some", work)


# What is written at the end only meets the broken pipe when it is flushed.
@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_who_has_seen_enough_hears_nothing(lines):
    code = f"""
import sys
from rlx.tools.command import execute

def work(progress):
    sys.stdin.read()
    for _ in range({lines}):
        print("line")
    return 0

sys.exit(execute("rlx-some", work))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdout.close()
    _, errors = child.communicate()
    assert (child.returncode, errors) == (1, b"")
