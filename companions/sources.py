"""The libraries in the table of companions, and the packages that have them."""

from __future__ import annotations

from dataclasses import dataclass

SUITES = {
    "bullseye": "debian:11",
    "bookworm": "debian:12",
    "trixie": "debian:13",
    "forky": "debian:testing",
    "sid": "debian:sid",
}
"""Suites of Debian, oldest first, each with the name by which people know it."""

ARCHITECTURES = {"x86_64": "amd64", "i386": "i386", "aarch64": "arm64"}
"""Debian's name for each ABI."""

WHEELS = "pypi"
"""The place in which a wheel is, where packages have their suite."""
PLATFORM = "manylinux1_x86_64", "cp37", "cp37m"
"""The platform, interpreter and ABI of the wheels: old ones, as what they bring along."""

BESIDE = "trixie"
"""The suite whose C library stands beside other libraries, so that only they differ."""


@dataclass(frozen=True, slots=True)
class Source:
    """A library: the pattern of its packages' names, and of its files within.

    ``parts`` of its version make a release: two of 2.36. ``packages`` with the same files in the
    same suite are releases of their own. Without ``files`` the release alone is of interest.
    """

    library: str
    packages: tuple[str, ...]
    files: tuple[str, ...]
    parts: int
    abis: tuple[str, ...] = ("x86_64",)
    alone: bool = True
    """it needs no C library beside it: it is one"""
    used: bool = True
    """programs of the suite use it, so that the suite as a base has it"""
    wheels: tuple[str, ...] = ()
    """releases that no suite has any more, in wheels of the Python Package Index: ``name==1.0``"""


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
