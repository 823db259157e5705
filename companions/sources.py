"""The libraries in the table of companions, and the packages that contain them."""

from __future__ import annotations

from dataclasses import dataclass

SUITES = {
    "bullseye": "debian:11",
    "bookworm": "debian:12",
    "trixie": "debian:13",
    "forky": "debian:testing",
    "sid": "debian:sid",
}
"""Debian's suites, oldest first, each with the name that the table uses for it."""

ARCHITECTURES = {"x86_64": "amd64", "i386": "i386", "aarch64": "arm64"}
"""Debian's name for each ABI."""

WHEELS = "pypi"
"""The name that the lock has for wheels, in place of a suite."""
PLATFORM = "manylinux1_x86_64", "cp37", "cp37m"
"""The platform, interpreter and ABI of the wheels: old ones, like the libraries inside."""

BESIDE = "trixie"
"""The suite whose C library all releases of other libraries are read with."""


@dataclass(frozen=True, slots=True)
class Source:
    """A library: patterns of its packages' names, and of its files in them.

    A release is the first ``parts`` numbers of a version: 2.36 has two. Several ``packages`` with
    the same files in one suite are separate releases. Without ``files``, only the releases are
    listed.
    """

    library: str
    packages: tuple[str, ...]
    files: tuple[str, ...]
    parts: int
    abis: tuple[str, ...] = ("x86_64",)
    alone: bool = True
    """True if it is read without a C library, since it is one"""
    used: bool = True
    """True if the suite's programs use it, so that a base image of the suite contains it"""
    wheels: tuple[str, ...] = ()
    """older releases than any suite has, as wheels of the Python Package Index: ``name==1.0``"""


SOURCES = (
    Source(
        "glibc",
        ("libc6",),
        ("libc.so.6", "ld-linux*.so.*", "libpthread.so.0", "librt.so.1", "libresolv.so.2"),
        2,
        ("x86_64", "i386", "aarch64"),
    ),
    Source("musl", ("musl",), ("ld-musl-*.so.1",), 3, used=False),
    Source(
        "python",
        (r"libpython{python}", r"libpython3\.\d+"),
        ("libpython3.*.so.1.0",),
        2,
        alone=False,
    ),
    Source(
        "openssl",
        ("libssl(1.1|3|3t64)",),
        ("libcrypto[.-]*so.*", "libssl[.-]*so.*"),
        3,
        alone=False,
        wheels=("psycopg2-binary==2.8.3", "psycopg2-binary==2.8.4"),
    ),
    Source("glib", ("libglib2.0-0(t64)?",), ("libglib-2.0.so.0",), 2, alone=False),
    Source("jemalloc", ("libjemalloc2",), ("libjemalloc.so.2",), 3, alone=False),
    Source(
        "systemd",
        ("libnss-systemd", "libnss-resolve"),
        ("libnss_systemd.so.2", "libnss_resolve.so.2"),
        1,
        alone=False,
    ),
    Source("linux", ("linux-image-amd64",), (), 2),
)
