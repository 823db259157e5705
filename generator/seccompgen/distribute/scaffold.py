"""The files of ``init``: a policy, a test of it, and the settings that name their directories."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, OutsideError, Position

if TYPE_CHECKING:
    from collections.abc import Mapping

_POLICIES = "seccomp"
_FILTERS = "sandbox"
_STOCK = "stock"
"""A directory below that of policies; its files are only included."""
_NO_PROGRAM_OF_ITS_OWN = {"tests", "test", "docs", "examples", "build", "dist"}


@dataclass(frozen=True, slots=True)
class _Probe:
    """Python code that makes a call, as a line for ``python -c`` without double quotes."""

    what: str
    code: str


@dataclass(frozen=True, slots=True)
class _StockStart:
    """A demonstration of a stock policy, and of the project's own rules next to it."""

    refused: _Probe
    allowed: _Probe
    more: str
    action: str
    names: str


_NO_PROGRAMS = _Probe("other_programs", "import os; os.execv('/bin/true', ['true'])")
_UNIX_SOCKETS = _Probe("unix_sockets", "import socket; socket.socket(socket.AF_UNIX)")
_PAIRS = _Probe("pairs", "import socket; socket.socketpair()")
_MORE_REFUSED = ("To refuse more, for example", "errno(EPERM)", "ptrace, process_vm_writev")
_KINDS = {
    "no_network": _StockStart(
        _Probe("internet_sockets", "import socket; socket.socket(socket.AF_INET)"),
        _Probe("pipes", "import os; os.pipe()"),
        *_MORE_REFUSED,
    ),
    "no_exec": _StockStart(_NO_PROGRAMS, _Probe("files", "open('/dev/null', 'w')"), *_MORE_REFUSED),
    "compute_only": _StockStart(
        _Probe("files", "open('/dev/null')"),
        _Probe("memory", "bytearray(1 << 24)"),
        *("If your program needs more, for example a look at files", "allow", "newfstatat, statx"),
    ),
    "web_worker": _StockStart(
        _NO_PROGRAMS,
        _Probe("imports", "import http.server"),
        *("If your program needs more, for example upstreams to ask", "allow", "socket, connect"),
    ),
    "no_path_sockets": _StockStart(_UNIX_SOCKETS, _PAIRS, *_MORE_REFUSED),
    "no_listen": _StockStart(
        _Probe("servers", "import socket; socket.create_server(('127.0.0.1', 0))"),
        _Probe("sockets", "import socket; socket.socket()"),
        *_MORE_REFUSED,
    ),
    "no_escape": _StockStart(
        _Probe(
            "terminal_input",
            "import fcntl, os, termios; fcntl.ioctl(os.pipe()[0], termios.TIOCSTI, b'x')",
        ),
        _Probe("threads", "import threading; threading.Thread(target=int).start()"),
        *("To refuse more, for example", "errno(EPERM)", "setuid, setgid"),
    ),
    "sandboxed_code": _StockStart(
        _UNIX_SOCKETS, _PAIRS, "To refuse more, for example", "errno(EPERM)", "setuid, setgid"
    ),
}
ATTRIBUTES_NAME = ".gitattributes"
DRIVER = "seccompgen"
"""The driver of ``git diff``, which `git config` defines in each clone."""
KINDS = tuple(sorted(_KINDS))
"""The stock policies that a project can start from."""


@dataclass(frozen=True, slots=True)
class Scaffold:
    """The missing parts of a project: whole files, and text to append to its pyproject.toml.

    ``kept`` are the files that exist already. ``package`` is the name by which the filters will be
    imported, ``test`` the file that tests the policy's filter. ``attributes`` is the line of
    .gitattributes that makes git show a filter's answers instead of its bytes; empty outside of
    git.
    """

    files: Mapping[Path, bytes]
    pyproject: Path
    stanza: str
    kept: tuple[Path, ...]
    policy: str
    package: str
    output: Path
    test: Path
    attributes: str

    @property
    def lacks_attributes(self) -> bool:
        """True if .gitattributes exists without our line."""
        kept = next((path for path in self.kept if path.name == ATTRIBUTES_NAME), None)
        try:
            return kept is not None and self.attributes.encode() not in kept.read_bytes()
        except OSError:
            return True

    def write(self) -> None:
        """Add what is missing, without changing existing bytes.

        Raises OutsideError if the file system refuses.
        """
        from seccompgen.io.outputs import Outputs  # noqa: PLC0415 - keeps --help fast

        if self.stanza and self.pyproject.exists() and not os.access(self.pyproject, os.W_OK):
            raise OutsideError(f"cannot write {self.pyproject}: Permission denied")
        Outputs(self.files).write()
        if self.stanza:
            # Appended to, not replaced: the file may be a link, or have a mode of its own.
            with self.pyproject.open("a", encoding="utf-8", newline="") as file:
                file.write(self.stanza)


def plan(root: Path, kind: str, output: str | None = None) -> Scaffold:
    """Return what the project in the directory ``root`` lacks for a policy of ``kind``.

    ``output`` is the package for the filters, relative to ``root``. None means the one in
    pyproject.toml, or else a directory in the project's one package or next to its modules. Raises
    InputError if there is more than one package, or if the directory exists.
    """
    from seccompgen.pipeline.project import read_project  # noqa: PLC0415

    pyproject = root / "pyproject.toml"
    project = read_project(pyproject) if pyproject.exists() else None
    stanza = ""
    if project:
        if output is not None and Path(os.path.normpath(root / output)) != project.output:
            message = f"[tool.seccompgen] has another output already: {project.output}"
            raise InputError(Diagnostic(message, Position(str(pyproject))))
        policies, filters = project.policies, project.output
    else:
        policies, filters = root / _POLICIES, _place(root, output)
    for place in (policies, filters):
        if not place.is_relative_to(root):
            raise InputError(f"{place} is not in this project, {root}, where 'init' adds things")
    source, package = _imported(root, filters)
    if not project:
        stanza = _stanza(pyproject, policies.relative_to(root), filters.relative_to(root))
    tests = root / next((name for name in ("tests", "test") if (root / name).is_dir()), "tests")
    test = tests / f"test_seccomp_{kind}.py"
    files = _policy_files(kind, policies, filters.relative_to(root))
    files[test] = _test(kind, policies.relative_to(root), package, source.relative_to(root))
    attributes = ""
    if any((directory / ".git").exists() for directory in (root, *root.parents)):
        attributes = f"{filters.relative_to(root).as_posix()}/*/*.py diff={DRIVER}"
        files[root / ATTRIBUTES_NAME] = f"{attributes}\n".encode()
    kept = tuple(path for path in files if os.path.lexists(path))
    missing = {path: data for path, data in files.items() if path not in kept}
    return Scaffold(missing, pyproject, stanza, kept, kind, package, filters, test, attributes)


def _place(root: Path, output: str | None) -> Path:
    if output is None:
        packages = _packages(root)
        if len(packages) > 1:
            names = ", ".join(str(path.relative_to(root)) for path in packages)
            first = packages[0].relative_to(root) / _FILTERS
            raise InputError(f"several packages are here ({names}): say which, as --output {first}")
        filters = (packages[0] if packages else root) / _FILTERS
    else:
        filters = Path(os.path.normpath(root / output))
    # A package takes precedence over the module of its name, which would become unimportable.
    for there in (filters, filters.with_name(f"{filters.name}.py")):
        if os.path.lexists(there):
            name = there.relative_to(root) if there.is_relative_to(root) else there
            raise InputError(f"{name} is there already: say where filters may go with --output DIR")
    return filters


def _packages(root: Path) -> list[Path]:
    """Return the project's outermost packages, including those in a namespace package."""
    found: list[Path] = []
    for pattern in ("*/__init__.py", "src/**/__init__.py"):
        for path in sorted(root.glob(pattern)):
            if not any(path.is_relative_to(package) for package in found):
                found.append(path.parent)
    return [package for package in found if package.name not in _NO_PROGRAM_OF_ITS_OWN]


def _imported(root: Path, filters: Path) -> tuple[Path, str]:
    """Return the directory from which the filter package is imported, and its name there."""
    source = root / "src"
    if not filters.is_relative_to(source) or (source / "__init__.py").exists():
        source = root
    parts = filters.relative_to(source).parts
    if not parts or not all(part.isidentifier() and not iskeyword(part) for part in parts):
        raise InputError(
            f"{filters.relative_to(root)} cannot be the place of a Python package: say where "
            "filters may go with --output DIR"
        )
    return source, ".".join(parts)


def _stanza(pyproject: Path, policies: Path, filters: Path) -> str:
    """Return the text to append to ``pyproject``: our section."""
    stanza = (
        "# `seccompgen build` compiles the policies into the output; commit both.\n"
        f'[tool.seccompgen]\npolicies = "{policies.as_posix()}"\noutput = "{filters.as_posix()}"\n'
    )
    if not pyproject.exists():
        return stanza
    text = pyproject.read_bytes().decode()
    gap = "" if not text or text.endswith("\n") else "\n"
    added = f"{gap}\n{stanza}" if text else stanza
    if "\r\n" in text:
        added = added.replace("\n", "\r\n")
    try:
        before = tomllib.loads(text)
        after = tomllib.loads(text + added)
        tools = after["tool"]
        del tools["seccompgen"]
        if "tool" not in before:
            del after["tool"]
        same = before == after
    except (tomllib.TOMLDecodeError, LookupError, TypeError):
        same = False
    if not same:
        message = (
            "a table [tool.seccompgen] cannot be added at its end; add it yourself, with "
            f'policies = "{policies.as_posix()}" and output = "{filters.as_posix()}"'
        )
        raise InputError(Diagnostic(message, Position(str(pyproject))))
    return added


def _policy_files(kind: str, policies: Path, filters: Path) -> dict[Path, bytes]:
    """Return the project's own policy, copies of its includes, and the schema for editors."""
    from seccompgen.core.releases import Release  # noqa: PLC0415
    from seccompgen.formats import load_policy  # noqa: PLC0415
    from seccompgen.pipeline.build import shipped_tables  # noqa: PLC0415
    from seccompgen.policy.json_schema import schema_text  # noqa: PLC0415
    from seccompgen.policy.modeline import MODELINE, SCHEMA_NAME  # noqa: PLC0415
    from seccompgen.policy.stock import stock_policies  # noqa: PLC0415
    from seccompgen.render.templates import render_text  # noqa: PLC0415

    known, tables = _KINDS[kind], shipped_tables()
    own = render_text(
        "init_policy.yml.j2",
        modeline=MODELINE,
        policy=kind,
        directory=_STOCK,
        output=filters.as_posix(),
        kernel=f"v{Release.parse(tables.tag)}",
        more=known.more,
        action=known.action,
        names=known.names,
    )
    stock, _ = load_policy(stock_policies()[kind], tables)
    copied = [Path(file) for file, _ in stock.sources]
    files = {policies / f"{kind}.yml": own.encode()}
    files[policies / SCHEMA_NAME] = schema_text(tables).encode()
    return files | {policies / _STOCK / path.name: path.read_bytes() for path in reversed(copied)}


def _test(kind: str, policies: Path, package: str, source: Path) -> bytes:
    from seccompgen.render.templates import render_text  # noqa: PLC0415

    known = _KINDS[kind]
    return render_text(
        "init_test.py.j2",
        policy=kind,
        policy_file=(policies / f"{kind}.yml").as_posix(),
        package=package,
        up=1,
        below="".join(f' / "{part}"' for part in source.parts),
        refused=known.refused,
        allowed=known.allowed,
    ).encode()
