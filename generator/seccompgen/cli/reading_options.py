"""Options for reading other people's policies, as one `Reading` or one for each FILTER.

``--caps 2:CAP_SYS_ADMIN`` is for the second FILTER of the command line; a value without a number is
for all FILTERs that have none of their own.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import click

from seccompgen.cli.options import ParamType
from seccompgen.core.abis import require_abi
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import OURS, Reading, Runtime
from seccompgen.formats import READABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_RELEASE = re.compile(r"v?([0-9]+)\.([0-9]+)")
_CAPABILITY = re.compile(r"(CAP_)?[A-Z_]+")
_PLACED = re.compile(r"([1-9][0-9]{0,3}):(.*)", re.DOTALL)
_BASE = re.compile(r"[a-z][a-z0-9+._-]*:.*", re.DOTALL)

_Said: TypeAlias = "tuple[int | None, Any]"
"""The place of the FILTER that an option is for, None for all; and the option's value."""


class _Placed(ParamType):
    """A value of another type, for one FILTER if a number precedes it: ``2:oci``."""

    def __init__(self, of: ParamType) -> None:
        self._of = of
        self.name = of.name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> _Said:
        match = _PLACED.fullmatch(value)
        place, text = (int(match[1]), match[2]) if match else (None, value)
        return place, self._of.convert(text, param, ctx)


def _option(*names: str, of: ParamType = click.STRING, **more: Any) -> Callable[..., Any]:
    """Return an option that can be set for all FILTERs and for each one."""
    if isinstance(of, click.Choice):
        more = {"metavar": f"[{'|'.join(of.choices)}]", **more}
    return click.option(*names, type=_Placed(of), multiple=True, **more)


_FORMATS = click.Choice([OURS, *READABLE])


class _FormatOrBase(ParamType):
    """A format of policies, or, with a colon in it, a base such as ``debian:11``."""

    name = "format_or_base"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if _BASE.fullmatch(value) else _FORMATS.convert(value, param, ctx)


_FROM_FORMAT = _option(
    "--from",
    "from_format",
    of=_FORMATS,
    help="The format of the policies; default: as their content shows.",
)
_FROM_EITHER = _option(
    "--from",
    "from_format",
    of=_FormatOrBase(),
    metavar="BASE|FORMAT",
    help="With a colon: the system that the policies were made on, such as debian:11. "
    "Without: their format.",
)
_TO_BASE = click.option(
    "--to",
    "to_base",
    metavar="BASE",
    help="The system that they will run on, such as debian:13 or newest.",
)
_OPTIONS = (
    _option(
        "--caps", metavar="CAP,...", help="OCI: the capabilities of the container; '' for none."
    ),
    _option("--kernel", metavar="RELEASE", help="OCI: the kernel's release, such as 6.1."),
    _option(
        "--runtime",
        of=click.Choice([one.value for one in Runtime]),
        help=f"OCI: the program that interprets the profile; default: {Runtime.RUNC.value}. "
        "seccompiler: libseccomp for newer Firecrackers.",
    ),
    _option("--filter", "thread", metavar="NAME", help="One filter of a file with several."),
    _option(
        "--for", "abis", metavar="ABI",
        help="The ABI to assume if the policy names none; repeatable.",
    ),
    _option(
        "--systemd", metavar="VERSION", of=click.INT,
        help="systemd: the release that defines the groups.",
    ),
)  # fmt: skip


class Readings(NamedTuple):
    """The choices for each FILTER of a command: ``own`` by place, from 1 on, else ``others``."""

    others: Reading
    own: Mapping[int, Reading]

    def at(self, place: int) -> Reading:
        """Return the choices for the FILTER at ``place``."""
        return self.own.get(place, self.others)

    def of(self, count: int) -> tuple[Reading, ...]:
        """Return the choices for each of ``count`` FILTERs. Raises InputError for places beyond."""
        beyond = next((place for place in self.own if place > count), None)
        if beyond is not None:
            there = "there is one" if count == 1 else f"there are {count}"
            raise InputError(f"{beyond}: in front of a value is for that FILTER, but {there}")
        return tuple(self.at(place) for place in range(1, count + 1))

    def for_all(self) -> Reading:
        """Return the choices if they are the same for all FILTERs. Raises InputError if not."""
        if self.own:
            text = "in front of a value is for commands that compare or combine FILTERs"
            raise InputError(f"{next(iter(self.own))}: {text}")
        return self.others


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for foreign policies to a command, which gets ``reading``."""

    @functools.wraps(command)
    def wrapped(readings: Readings, **others: Any) -> object:
        return command(reading=readings.for_all(), **others)

    return readings_options(wrapped)


def readings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options to a command, which gets ``readings``, one for each FILTER."""
    return _with_readings(command, _FROM_FORMAT)


def _with_readings(
    command: Callable[..., Any], from_option: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(command)
    def wrapped(**options: Any) -> object:
        said = {name: options.pop(name) for name in _READ}
        places = sorted({place for values in said.values() for place, _ in values if place})
        outside = options.pop("outside")
        own = {place: replace(_reading(said, place), outside=outside) for place in places}
        others = replace(_reading(said, None), outside=outside)
        return command(readings=Readings(others, own), **options)

    for option in (outside_option, *reversed(_OPTIONS), from_option):
        wrapped = option(wrapped)
    return wrapped


def based_reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options; the command gets ``reading``, ``from_base`` and ``to_base``.

    ``--from`` is for both: its values with a colon are bases, the others formats.
    """

    @functools.wraps(command)
    def wrapped(readings: Readings, **others: Any) -> object:
        return command(reading=readings.for_all(), **others)

    made = _with_readings(wrapped, _FROM_EITHER)

    @functools.wraps(command)
    def split(from_format: tuple[_Said, ...], **others: Any) -> object:
        bases = [(place, value) for place, value in from_format if _BASE.fullmatch(value)]
        formats = tuple(one for one in from_format if one not in bases)
        return made(from_format=formats, from_base=_only_base(bases), **others)

    split.__click_params__ = made.__click_params__  # type: ignore[attr-defined] # click's own way
    return _TO_BASE(split)


def _only_base(said: list[_Said]) -> str | None:
    """Return the base that ``--from`` names, if any. Raises InputError for more than one."""
    names = list(dict.fromkeys(value for _, value in said))
    if any(place for place, _ in said):
        raise InputError(
            f"--from {names[0]}: a base applies to all FILTERs; leave out the number before it"
        )
    if len(names) > 1:
        raise InputError(f"--from names two bases, {names[0]} and {names[1]}: choose one")
    return names[0] if names else None


_READ = ("from_format", "caps", "kernel", "runtime", "thread", "abis", "systemd")
outside_option = click.option(
    "--allow-outside",
    "outside",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Read files below DIR as well where a policy or a manifest names one; repeatable. "
    "Default: those of its project or git checkout.",
)


def _reading(said: Mapping[str, tuple[_Said, ...]], place: int | None) -> Reading:
    """Return the choices for the FILTER at ``place``: its own, else those for all."""
    chosen: dict[str, list[Any]] = {}
    for name, values in said.items():
        own = [value for where, value in values if where == place]
        chosen[name] = own or [value for where, value in values if where is None]
    last = {name: values[-1] if values else None for name, values in chosen.items()}
    return Reading(
        last["from_format"],
        None if last["caps"] is None else _capabilities(last["caps"]),
        _release(last["kernel"]) if last["kernel"] else None,
        Runtime(last["runtime"] or Runtime.RUNC.value),
        last["thread"],
        tuple(require_abi(one).name for one in chosen["abis"]),
        last["systemd"],
    )


def _capabilities(text: str) -> frozenset[str]:
    words = [word.strip().upper() for word in text.split(",") if word.strip()]
    strange = [word for word in words if not _CAPABILITY.fullmatch(word)]
    if strange:
        raise InputError(f"--caps: {strange[0]!r} is no capability, such as CAP_SYS_ADMIN")
    return frozenset(word if word.startswith("CAP_") else f"CAP_{word}" for word in words)


def _release(text: str) -> tuple[int, ...]:
    match = _RELEASE.match(text)
    if not match:
        raise InputError(f"--kernel: {text!r} is no release of Linux, such as 6.1")
    return tuple(map(int, match.groups()))
