"""The layers of a policy: its file and the files that it includes, or a document in memory."""

from __future__ import annotations

import hashlib
import os
import pathlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from seccompgen.core.errors import Diagnostic, InputError, Position, SeccompgenError, did_you_mean
from seccompgen.core.problems import Problem
from seccompgen.io.file_reach import require_reach
from seccompgen.io.reading import read_file
from seccompgen.policy.document import MAX_POLICY, Document, Path, Source, read_document
from seccompgen.policy.groups import Definition
from seccompgen.policy.schema import validate
from seccompgen.policy.stock import stock_directory, stock_policies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seccompgen.core.foreign import Reading
    from seccompgen.policy.keys import NamedGroup, SyscallGroup

_T = TypeVar("_T")
_MAX_INCLUDES = 32


class Layer(NamedTuple):
    """One document, checked by itself.

    ``related`` are other files that it was made from, with their sha256: those that a foreign
    policy includes. ``reading`` are the choices for its translation, None for a file in our format;
    ``notes`` are remarks about the translation.
    """

    document: Document
    base: Path
    content: Mapping[str, Any]
    sha256: str
    in_memory: bool = False
    related: tuple[tuple[str, str], ...] = ()
    reading: Reading | None = None
    notes: tuple[Diagnostic, ...] = ()

    @classmethod
    def of(cls, document: Document, content: bytes) -> Layer:
        """Check ``document``, read from ``content``; raise InputError with every error."""
        checked, base = validate(document)
        return cls(document, base, checked, hashlib.sha256(content).hexdigest())

    @property
    def file(self) -> str:
        """The name of the file; for a document in memory, that of an equivalent file."""
        return f"{self.document.file}.yml" if self.in_memory else self.document.file

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """The files that the layer was made from, its own last, each with its sha256."""
        return (*self.related, (self.file, self.sha256))

    def position(self, *path: str | int) -> Position:
        """Return the position of a part of the policy."""
        return self.document.position((*self.base, *path))

    def places(self, text: str, *path: str | int) -> Callable[[int], Position]:
        """Return a function that maps an index in ``text``, at ``path``, to its position."""
        return self.document.places((*self.base, *path), text)

    @property
    def groups(self) -> dict[str, Definition]:
        """The groups that the file defines."""
        named: Sequence[NamedGroup] = self.content.get("groups", ())
        return {
            one.name: Definition(
                self.document.key_position((*self.base, "groups", one.name)),
                tuple(
                    (member, self.position("groups", one.name, i))
                    for i, member in enumerate(one.members)
                ),
            )
            for one in named
        }

    @property
    def rules(self) -> Sequence[SyscallGroup]:
        """The groups of rules in the file."""
        found: Sequence[SyscallGroup] = self.content.get("syscalls", ())
        return found


class PolicyFiles(NamedTuple):
    """A reader of the files of a policy: ``read`` parses the content of one to a layer.

    ``outside`` are additional directories whose files may be included (`io.file_reach`);
    ``instead`` has, by path, contents that replace those of files.
    """

    read: Callable[[bytes, str], Layer]
    outside: tuple[pathlib.Path, ...] = ()
    instead: Mapping[str, bytes] = {}


def layers_of(source: Source, notes: list[Diagnostic], files: PolicyFiles) -> list[Layer]:
    """Return the layers of a policy, its own last; raise InputError with the errors of all."""
    if not isinstance(source, pathlib.Path):
        return [_layer_in_memory(source)]
    done: dict[pathlib.Path, Layer] = {}
    problems: list[Diagnostic] = []
    _read_layer(source, None, (), done, problems, notes, files, source)
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return list(done.values())


def _layer_in_memory(document: Document) -> Layer:
    name = document.file
    if not name.isprintable() or os.sep in name:
        text = f"{name!r} cannot be the name of a file: choose another"
        raise InputError(Diagnostic(text, kind=Problem.UNPRINTABLE_NAME))
    from seccompgen.policy.yaml_text import policy_text  # noqa: PLC0415 - files have a text

    # Unchecked data may have no text.
    layer = Layer.of(document, b"")
    digest = hashlib.sha256(policy_text(document.data).encode()).hexdigest()
    return layer._replace(sha256=digest, in_memory=True)


def setting(layers: list[Layer], key: str, default: _T) -> _T:
    """Return the value of ``key`` in the outermost layer that sets it, or ``default``."""
    layer = holder(layers, key)
    return layer.content[key] if layer else default


def holder(layers: list[Layer], key: str) -> Layer | None:
    """Return the layer whose ``key`` takes effect: the outermost that sets it; None without one."""
    return next((one for one in reversed(layers) if key in one.content), None)


def no_default(layers: list[Layer]) -> Diagnostic:
    """Return the error for a missing ``default_action``."""
    text = (
        "'default_action' is missing: say what happens to a call that no rule matches, "
        "such as errno or kill_process"
    )
    return Diagnostic(text, layers[-1].position(), Problem.MISSING_KEY)


def _read_layer(
    path: pathlib.Path,
    included_at: Position | None,
    chain: tuple[pathlib.Path, ...],
    done: dict[pathlib.Path, Layer],
    problems: list[Diagnostic],
    notes: list[Diagnostic],
    files: PolicyFiles,
    named: pathlib.Path,
) -> None:
    """Read the file at ``path`` and its includes; ``named`` is the policy's own file."""
    if not str(path).isprintable():
        text = f"unprintable characters in {str(path)!r}: rename it"
        problems.append(Diagnostic(text, included_at, Problem.UNPRINTABLE_NAME))
        return
    # Not resolve(), which raises RuntimeError for a loop of links; read_file reports it better.
    identity = pathlib.Path(os.path.realpath(path))
    if identity in chain:
        names = " includes ".join(p.name for p in (*chain[chain.index(identity) :], identity))
        text = f"a circle of includes: {names}"
        problems.append(Diagnostic(text, included_at, Problem.CIRCULAR_INCLUDE))
        return
    if identity in done:
        return
    if len(chain) == _MAX_INCLUDES:
        text = f"includes nested deeper than {_MAX_INCLUDES}"
        problems.append(Diagnostic(text, included_at, Problem.DEEP_INCLUDE))
        return
    try:
        if chain:
            require_reach(path, named, (*files.outside, stock_directory()))
        # Only a file that the command line names may be a pipe from the shell.
        content = files.instead.get(str(path)) or read_file(path, MAX_POLICY, pipes=not chain)
    except OSError as error:
        near = ""
        if included_at:
            near = did_you_mean(path.stem, stock_policies(), "the stock policy ")
        text = f"cannot read {path}: {error.strerror}{near}"
        problems.append(Diagnostic(text, included_at, Problem.UNREADABLE_FILE))
        return
    try:
        layer = files.read(content, str(path))
    except SeccompgenError as error:
        problems.extend(error.diagnostics)
        return
    notes += layer.notes
    for i, name in enumerate(layer.content.get("include", ())):
        where = layer.position("include", i)
        file = _included(path.parent, name, where, notes)
        _read_layer(file, where, (*chain, identity), done, problems, notes, files, named)
    done[identity] = layer


@lru_cache(maxsize=16)
def own_layer(content: bytes, file: str) -> Layer:
    """Return the layer of a file in our own format; cached, since many policies may include it."""
    return Layer.of(read_document(content, file), content)


def _included(
    directory: pathlib.Path, name: str, where: Position, notes: list[Diagnostic]
) -> pathlib.Path:
    """Return the path of an include: that of the stock policy ``name``, or of a file.

    As on a command line (`locate`), the name of a stock policy always means that policy, even if a
    file of that name exists.
    """
    stock = stock_policies().get(name)
    if stock and os.path.lexists(directory / name):
        text = f"the stock policy {name} is meant; for the file beside this one, write ./{name}"
        notes.append(Diagnostic(text, where, Problem.STOCK_POLICY_MEANT))
    return stock or directory / name


OWN_FILES = PolicyFiles(own_layer)
"""The setting to read only files in our own format."""
