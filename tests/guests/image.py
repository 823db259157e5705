"""Build what a guest boots from: its kernel, and an initramfs that holds Python and our files.

An initramfs may be several archives, one after the other, later files over earlier ones
(Documentation/driver-api/early-userspace/buffer-format.rst). So the user space, which takes long
to build, is one archive that the cache keeps, and the files of a run are another. None of them is
compressed: to unpack one would be the emulated machine's work.
"""

from __future__ import annotations

import re
import stat
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from guests.cache import kept
from guests.machines import GUESTS
from guests.packages import fetch
from guests.unwrap import unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guests.machines import Guest, Software
    from guests.packages import Package

PACKAGES = (
    "libpython{python}-stdlib",
    "libpython{python}-minimal",
    "python{python}-minimal",
    "libc6",
    "libgcc-s1",
    "libffi8",
    "libexpat1",
    "zlib1g",
    "dash",
)
"""The packages of a user space: Python, the libraries of it and of ctypes, and a shell."""

_LEFT_OUT = re.compile(
    r"(asyncio|concurrent|curses|dbm|distutils|email|ensurepip|html|http|idlelib|lib2to3|logging"
    r"|msilib|multiprocessing|pydoc_data|sqlite3|test|tkinter|tomllib|turtledemo|unittest"
    r"|venv|wsgiref|xml|xmlrpc|zoneinfo|zipfile|_pyrepl)/.*"
    r"|encodings/(cp(?!437|1252)|mac_|iso|koi|big5|euc|gb|hz|idna|johab|kz|palmos|ptcp|shift|tis).*"
    r"|lib-dynload/(?!_ctypes\.|_json|_posixsubprocess|_queue|mmap|resource|termios|_hmac).*"
    r"|_pydecimal\.py|_pydatetime\.py|pydoc\.py|turtle\.py|config-.*|.*\.rst|.*\.txt"
)
"""Of the standard library: what neither we nor what we use imports."""

_SYSTEM_LIBRARY = re.compile(
    r"usr/lib\w*(/[^/]+)?"
    r"/(ld[-.0-9a-z]*\.so.*|lib(c|m|dl|pthread|rt|util|gcc_s|ffi|expat|z|crypt)[-.].*)"
)

_FILE = stat.S_IFREG | 0o755
_DIRECTORY = stat.S_IFDIR | 0o755
_LINK = stat.S_IFLNK | 0o777

_SOURCE = Path(__file__).read_text()
_UNWRAP = Path(__file__).with_name("unwrap.py").read_text()


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an initramfs: its mode with the type, content or target, number if a device."""

    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class UserSpace:
    """The file of the archive that holds Python, and the name and version of its library."""

    path: Path
    library: str


def kernel(guest: Guest) -> Path:
    """Return the file of the guest's kernel. Raises what `fetch` does."""
    package = _fetched(guest, guest.kernel)[guest.kernel_package]
    inputs = (_SOURCE, _UNWRAP, package.identity)
    return kept(f"kernels/{package.name}", inputs, lambda: unwrapped(_kernel(package)))


def kernel_version(guest: Guest) -> str:
    """Return the version of the package of the guest's kernel. Raises what `fetch` does."""
    return _fetched(guest, guest.kernel)[guest.kernel_package].version


def user_space(guest: Guest) -> UserSpace:
    """Return the guest's user space. Raises what `fetch` does."""
    fetched = _fetched(guest, guest.user)
    packages = [fetched[pattern] for pattern in PACKAGES]
    library = packages[0]
    version = library.name.removeprefix("libpython").removesuffix("-stdlib")
    path = kept(
        f"user-spaces/{guest.user.suite}-{guest.user.architecture}",
        (_SOURCE, *(package.identity for package in packages)),
        lambda: archive(_user_space(packages, version)),
    )
    return UserSpace(path, f"{library.name}-{library.version}")


def modules(guest: Guest) -> Path | None:
    """Return the archive of the kernel modules that a guest loads, or None if it loads none.

    Sorted by name, they are in the order in which they load. Raises what `fetch` does.
    """
    if not guest.modules:
        return None
    package = _fetched(guest, guest.kernel)[guest.kernel_package]
    return kept(
        f"modules/{package.name}",
        (_SOURCE, *guest.modules, package.identity),
        lambda: overlay(_ordered(guest.modules, _modules(package))),
    )


def _modules(package: Package) -> dict[str, bytes]:
    """Return the modules of a kernel's package by name."""
    return {
        PurePosixPath(name).stem.replace("-", "_"): entry.content
        for name, entry in contents(package)
        if name.endswith(".ko")
    }


def _ordered(wanted: Sequence[str], present: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return modules by path, those that others depend on first."""
    order: dict[str, None] = {}

    def add(name: str) -> None:
        if name not in order:
            for needed in filter(None, _needs(present[name])):
                add(needed)
            order[name] = None

    for name in wanted:
        add(name)
    return {f"modules/{n:03}-{name}.ko": present[name] for n, name in enumerate(order)}


def _needs(module: bytes) -> list[str]:
    """Return what a module says in its section .modinfo that it depends on."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return found[1].decode().replace("-", "_").split(",") if found else []


def _fetched(guest: Guest, software: Software) -> dict[str, Package]:
    """Return by pattern what any guest needs of some software: it costs little to fetch at once."""
    wanted = set()
    for one in (guest, *GUESTS):
        if one.kernel == software:
            wanted.add(one.kernel_package)
        if one.user == software:
            wanted.update(PACKAGES)
    return fetch(software.suite, software.architecture, sorted(wanted))


def archive(files: Mapping[str, Entry]) -> bytes:
    """Return the "newc" cpio archive of files by path, with the directories they are in.

    Its length is a multiple of four, so that another may follow.
    """
    entries = {name.lstrip("/"): entry for name, entry in files.items()}
    for name in list(entries):
        for parent in PurePosixPath(name).parents[:-1]:
            entries.setdefault(str(parent), Entry(_DIRECTORY))
    parts = []
    for inode, name in enumerate([*sorted(entries), "TRAILER!!!"], start=1):
        entry = entries.get(name, Entry(0))
        path = name.encode() + b"\0"
        owner = (0, 0)
        links, time, checksum = 1, 0, 0
        size = len(entry.content)
        device = (0, 0, *entry.device)
        fields = (inode, entry.mode, *owner, links, time, size, *device, len(path), checksum)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + path
        parts += [_padded(header), _padded(entry.content)]
    return b"".join(parts)


def overlay(files: Mapping[str, bytes]) -> bytes:
    """Return the archive of plain files by path; relative paths start at ``/trial``."""
    trial = PurePosixPath("/trial")
    return archive({str(trial / name): Entry(_FILE, content) for name, content in files.items()})


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)


def _kernel(package: Package) -> bytes:
    for name, entry in contents(package):
        if re.fullmatch(r"boot/vmlinu[xz].*|usr/lib/modules/[^/]*/vmlinu[xz]", name):
            return entry.content
    raise ValueError(f"{package.identity} holds no kernel")


def _user_space(packages: list[Package], version: str) -> dict[str, Entry]:
    entries = {
        "dev/console": Entry(stat.S_IFCHR | 0o600, device=(5, 1)),
        "dev/null": Entry(stat.S_IFCHR | 0o666, device=(1, 3)),
        "usr/bin/python3": Entry(_LINK, f"python{version}".encode()),
        "usr/bin/sh": Entry(_LINK, b"dash"),
    }
    for name in ("dev", "proc", "sys", "tmp", "trial"):
        entries[name] = Entry(_DIRECTORY)
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        entries[name] = Entry(_LINK, f"usr/{name}".encode())
        entries[f"usr/{name}"] = Entry(_DIRECTORY)
    for package in packages:
        for packed, entry in contents(package):
            name = re.sub(r"^(bin|sbin|lib\w*)/", r"usr/\1/", packed)
            if _is_wanted(name, version):
                entries[name] = entry
    return entries


def _is_wanted(name: str, version: str) -> bool:
    library = f"usr/lib/python{version}/"
    if name.startswith(library):
        return _LEFT_OUT.fullmatch(name.removeprefix(library)) is None
    if name in {f"usr/bin/python{version}", "usr/bin/dash"}:
        return True
    return _SYSTEM_LIBRARY.fullmatch(name) is not None


def contents(package: Package) -> Iterator[tuple[str, Entry]]:
    """Yield the files and links of a package by path."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as file:
                for member in file:
                    name = member.name.removeprefix("./")
                    if member.issym():
                        yield name, Entry(_LINK, member.linkname.encode())
                    elif member.isreg():
                        content = file.extractfile(member)
                        assert content is not None
                        yield name, Entry(stat.S_IFREG | member.mode, content.read())
        finally:
            process.kill()  # whoever asked may have seen enough
