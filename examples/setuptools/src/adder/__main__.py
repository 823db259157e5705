"""Add the numbers on standard input, confined before it is read."""

import socket
import sys

from adder.sandbox import worker

worker.install()
print(sum(int(line) for line in sys.stdin), flush=True)
try:
    socket.create_server(("127.0.0.1", 0))
except PermissionError as error:
    print("socket:", error.strerror)
