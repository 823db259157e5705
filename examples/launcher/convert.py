"""A program that has a tool do something, confined: ``convert.py COMMAND [ARGUMENT]...``."""

import pathlib
import subprocess
import sys

LAUNCH = pathlib.Path(__file__).with_name("launch.py")


def run(command, data):
    """Run ``command`` without a network on ``data``; return what it writes.

    All descriptors but the three of any program are closed on the way (close_fds, by default).
    """
    return subprocess.run(
        [sys.executable, "-S", "-E", LAUNCH, *command],
        input=data,
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    ).stdout


if __name__ == "__main__":
    sys.stdout.buffer.write(run(sys.argv[1:], sys.stdin.buffer.read()))
