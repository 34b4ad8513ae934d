"""A process that has the tools imported and runs them in forks, for the many runs of lit tests.

    with ToolServer() as server:
        server.start()
        subprocess.run([*server.command("rlx.tools.rlx_opt"), "--version"])

What runs is a process of its own, with the caller's files, folder and arguments; only the imports
are done before. `lit` itself starts the tools the ordinary way.
"""

import array
import contextlib
import importlib
import io
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MAIN = {"filecheck": "filecheck.main"}
# What imports depend on, and must be the same in the server and in a tool that it runs.
ESSENTIAL = ("PYTHONPATH", "PYTHONHOME", "RLX_", "LD_")


def tool_environment() -> dict[str, str]:
    """Variables with which tools run from the checkout, on the host that is running here."""
    from rlx import host

    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "RLX_MLIR": host.PREFIX, "PYTHONWARNINGS": "ignore"}


class ToolServer:
    """Starts with the first :meth:`start`; the context manager ends it and all that it runs."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rlx-tools-")
        self.address = os.path.join(self._folder.name, "socket")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Makes the server run."""
        if self._process is not None:
            return
        command = [sys.executable, str(Path(__file__).resolve()), self.address]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **tool_environment()},
        )
        if self._process.stdout is None or self._process.stdout.readline() != b"ready\n":
            raise RuntimeError("the tool server did not start")

    def command(self, module: str = "") -> list[str]:
        """The words that run ``module``, to be followed by its arguments."""
        client = str(HERE / "tool_client.py")
        words = [sys.executable, "-I", "-S", client, self.address]
        return [*words, module] if module else words

    def __enter__(self) -> "ToolServer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.communicate()  # closes its stdin, on which it ends
        self._folder.cleanup()


# -- the server process ------------------------------------------------------------------------


def _preload() -> None:
    from rlx import registry
    from rlx.dialects import op_classes

    for module in ("rlx.tools.rlx_opt", "rlx.tools.driver", "rlx.tools.describe", "filecheck.main"):
        importlib.import_module(module)
    op_classes()
    for name in registry.pass_names():
        registry.pass_class(name)
    for name in registry.pipeline_names():
        registry.pipeline_class(name)


def _serve(address: str) -> None:
    _preload()
    base = _essential(dict(os.environ))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.write(1, b"ready\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with contextlib.suppress(KeyboardInterrupt):
        selector = selectors.DefaultSelector()
        selector.register(listener, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        while all(key.fd != 0 for key, _ in selector.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(connection, base)
            connection.close()
    os.killpg(0, signal.SIGTERM)


def _essential(environment: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key.startswith(ESSENTIAL)}


def _answer(connection: socket.socket, base: dict[str, str]) -> None:
    """Runs one tool and reports how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files = _receive(connection)
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    module, folder, count, *rest = data.decode("utf-8", "surrogateescape").split("\0")
    arguments, variables = rest[: int(count)], rest[int(count) :]
    environment = dict(variable.split("=", 1) for variable in variables)
    if _essential(environment) != base:
        connection.sendall(b"elsewhere")
        os._exit(0)
    pid = os.fork()
    if pid == 0:
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        _run(module, arguments)
    for file in files:
        os.close(file)
    _, status = os.waitpid(pid, 0)
    connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _receive(connection: socket.socket) -> tuple[int, list[int]]:
    data, ancillary, _, _ = connection.recvmsg(8, socket.CMSG_SPACE(12))
    files = array.array("i")
    for _, _, payload in ancillary:
        files.frombytes(payload)
    return int.from_bytes(data, "little"), list(files)


def _run(module: str, arguments: list[str]) -> None:
    # Fresh streams, since those of the server remember what its files could do.
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(open(0, "rb", closefd=False))  # noqa: SIM115
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(open(1, "wb", closefd=False))  # noqa: SIM115
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(
        open(2, "wb", closefd=False),  # noqa: SIM115
        errors="backslashreplace",
        line_buffering=True,
    )
    sys.argv = [module, *arguments]
    code = 1
    try:
        code = importlib.import_module(MAIN.get(module, module)).main() or 0
    except SystemExit as request:
        code = request.code if isinstance(request.code, int) else int(request.code is not None)
        if isinstance(request.code, str):
            print(request.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    os.setpgid(0, 0)
    sys.path[0] = str(ROOT)
    _serve(sys.argv[1])
