"""Asks the server of `tool_server.py` to run a tool on this process's files.

    python -I -S tool_client.py SOCKET MODULE [ARGUMENT...]

Starts in a fraction of the time that importing the tool takes. When the server would run the tool
in another environment than this process has, the tool is started the ordinary way.
"""

import _socket
import os
import sys


def main() -> None:
    address, module, *arguments = sys.argv[1:]
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(address)
    environment = [f"{key}={value}" for key, value in os.environ.items()]
    strings = [module, os.getcwd(), str(len(arguments)), *arguments, *environment]
    files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    request = "\0".join(strings).encode("utf-8", "surrogateescape")
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)]
    connection.sendmsg([len(request).to_bytes(8, "little")], rights)
    connection.sendall(request)
    reply = connection.recv(16).decode()
    if reply == "elsewhere":
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
    status = int(reply)
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    main()
