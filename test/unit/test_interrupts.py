"""Ctrl-C at any time leaves a process in which compiling works, once it is asked again."""

import signal
import subprocess
import sys
import threading

import pytest

from rlx.host import interrupts_wait, ir
from rlx.passes.check_shapes import CheckShapes
from rlx.pipeline import run_pipeline

# At each try, a signal in the middle of the next file of bindings. Some are imported by C++, when
# it meets the ops of a dialect.
EVERY_IMPORT = """
import signal, sys
import numpy as np

signal.signal(signal.SIGINT, signal.default_int_handler)
calls, interrupted, caught = {}, [], 0
def interrupt(frame, event, argument):
    file = frame.f_code.co_filename
    if event == "call" and file.endswith("_ops_gen.py"):
        calls[file] = calls.get(file, 0) + 1
        if calls[file] == 3 and len(interrupted) == caught:
            interrupted.append(file)
            signal.raise_signal(signal.SIGINT)

text = '''
func.func @main(%x: tensor<2x?xf32>, %w: tensor<16x16xf32>) -> tensor<2x16xf32> {
  %0 = tensor.cast %x : tensor<2x?xf32> to tensor<2x16xf32>
  %1 = "rlx.matmul"(%0, %w) : (tensor<2x16xf32>, tensor<16x16xf32>) -> tensor<2x16xf32>
  return %1 : tensor<2x16xf32>
}'''
while True:
    sys.setprofile(interrupt)  # which an exception ends
    try:
        import rlx
        compiled = rlx.compile(text, cache=False)
        break
    except KeyboardInterrupt:
        caught += 1
sys.setprofile(None)
assert compiled(np.ones((2, 16), "f4"), np.ones((16, 16), "f4")).tolist() == [[16.0] * 16] * 2
assert caught > 5, caught
"""


@pytest.fixture(autouse=True)
def interruptible():
    """A shell that runs the tests in the background has them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_while_bindings_are_imported():
    subprocess.run([sys.executable, "-c", EVERY_IMPORT], check=True, timeout=120)


def test_a_pass_ends_before_it_is_interrupted(monkeypatch):
    """An exception in what the host calls back would end as an error of the pass."""
    seen = []

    def visit(op):
        if not seen:
            signal.raise_signal(signal.SIGINT)
        seen.append(op.name)
        return ir.WalkResult.ADVANCE

    monkeypatch.setattr(CheckShapes, "run", lambda self, op: op.walk(visit))
    with ir.Context():
        module = ir.Module.parse("module {}\nmodule {}")
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(module, "rlx-check-shapes,cse")
    assert seen == ["builtin.module"] * 3


def test_waits_may_nest():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_wait():
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
        done.append("after the inner one")
    assert done


def test_handlers_are_called_and_kept():
    came = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            assert not came
        assert came == [signal.SIGINT]
        with pytest.raises(ValueError, match="its own"), interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("its own")
        signal.raise_signal(signal.SIGINT)
        assert len(came) == 3
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_second_one_does_not_wait():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_wait():
        signal.raise_signal(signal.SIGINT)
        done.append("after the first")
        signal.raise_signal(signal.SIGINT)
        done.append("after the second")
    assert done == ["after the first"]


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_other_handlers_stay(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with interrupts_wait():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_handlers_alone():
    handler = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with interrupts_wait():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [handler]
