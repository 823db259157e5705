"""Parse an upload: from standard input, to JSON on standard output, confined.

The parser is pickle's, which runs what the upload says: no parser could be worse.
"""

import ctypes
import json
import pickle
import resource
import sys

from sandbox import parser


def main():
    """Set limits, install the filter, and only then look at the upload."""
    resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
    resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: no core file if it crashes
    parser.install()
    try:
        answer = {"parsed": pickle.load(sys.stdin.buffer)}  # noqa: S301 - so that there is a hole
    except Exception as error:  # whatever it is, the upload is to blame
        answer = {"error": f"{type(error).__name__}: {error}"}
    json.dump(answer, sys.stdout)
    print()


if __name__ == "__main__":
    main()
