"""Report the bytecode of the standard library's modules that a guest may use.

To compile them takes an emulated machine seconds, to load them does not. Bytecode is the same on
every architecture but differs between versions of Python, so that only the guest's can make it.
"""

import importlib
import io
import tarfile
from pathlib import Path

_MODULES = (
    "argparse array base64 binascii collections contextlib ctypes dataclasses datetime enum errno"
    " fcntl functools gc hashlib heapq importlib.machinery importlib.util inspect io itertools"
    " json linecache mmap operator os pathlib pickle platform pprint queue random re resource"
    " select selectors shutil signal socket stat string struct subprocess tempfile termios textwrap"
    " threading time traceback types typing warnings weakref zlib"
)


def main() -> bytes:
    """Return the bytecode in a tar archive."""
    for name in _MODULES.split():
        importlib.import_module(name)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as file:
        for path in sorted(Path(io.__file__).parent.rglob("*.pyc")):
            file.add(str(path))
    return archive.getvalue()
