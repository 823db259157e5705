"""The options of commands that read other people's policies, as one `Reading`."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import click

from seccompgen.core.abis import require_abi
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Format, Reading, Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

_RELEASE = re.compile(r"v?([0-9]+)\.([0-9]+)")
_CAPABILITY = re.compile(r"(CAP_)?[A-Z_]+")

_OPTIONS = (
    click.option(
        "--from",
        "from_format",
        type=click.Choice([one.value for one in Format]),
        help="Read policies in this format; default: what their content shows.",
    ),
    click.option(
        "--caps", metavar="CAP,...", help="OCI: the capabilities of the container; '' for none."
    ),
    click.option("--kernel", metavar="RELEASE", help="OCI: the kernel's release, such as 6.1."),
    click.option(
        "--runtime",
        type=click.Choice([one.value for one in Runtime]),
        default=Runtime.RUNC.value,
        show_default=True,
        help="OCI: who gives the profile its meaning.",
    ),
    click.option("--filter", "thread", metavar="NAME", help="Of a file with several filters, one."),
    click.option(
        "--for", "abis", multiple=True, metavar="ABI",
        help="The ABI of a policy that does not say it itself; repeatable.",
    ),
    click.option(
        "--systemd", metavar="VERSION", type=int, help="systemd: the release whose groups count."
    ),
)  # fmt: skip


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options for foreign policies, and ``reading``, which they come to."""

    @functools.wraps(command)
    def wrapped(
        from_format: str | None,
        caps: str | None,
        kernel: str | None,
        runtime: str,
        thread: str | None,
        abis: tuple[str, ...],
        systemd: int | None,
        **others: Any,
    ) -> object:
        reading = Reading(
            Format(from_format) if from_format else None,
            None if caps is None else _capabilities(caps),
            _release(kernel) if kernel else None,
            Runtime(runtime),
            thread,
            tuple(require_abi(one).name for one in abis),
            systemd,
        )
        return command(reading=reading, **others)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


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
