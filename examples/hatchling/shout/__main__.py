"""Write standard input in capitals, or the files that are named, if only one might open them."""

import pathlib
import sys

from shout.sandbox import filter as seccomp_filter

seccomp_filter.install()
try:
    for name in sys.argv[1:]:
        print(pathlib.Path(name).read_text().upper())
except PermissionError as error:
    sys.exit(f"{error.filename}: {error.strerror}")
print(sys.stdin.read().upper(), end="")
