"""Add the numbers on standard input, confined to reading and writing what is open already."""

import socket
import sys

from sandbox import worker


def main() -> None:
    """Confine this process, then touch the input."""
    worker.install()
    print(sum(map(int, sys.stdin)), flush=True)
    try:
        socket.socket()
    except PermissionError:
        print("no sockets here")


if __name__ == "__main__":
    main()
