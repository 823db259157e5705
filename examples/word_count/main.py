"""Count the words of standard input, confined to reading and writing what is open already."""

import collections
import heapq  # noqa: F401 - most_common() imports it when called, too late for a file to be opened
import json
import pathlib
import sys

from sandbox import worker


def main() -> None:
    """Confine this process, then touch the input."""
    worker.install()
    words = collections.Counter(sys.stdin.read().split())
    # Flushed at once: a process that is killed writes nothing of what it still holds.
    print(json.dumps(words.most_common(3)), flush=True)
    if "--misbehave" in sys.argv:
        pathlib.Path("/etc/passwd").read_text()


if __name__ == "__main__":
    main()
