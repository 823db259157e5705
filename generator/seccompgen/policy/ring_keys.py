"""The keys of the section ``io_uring``, each declared once, as in `keys`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seccompgen.core.errors import did_you_mean
from seccompgen.core.ring import Without
from seccompgen.policy.form import (
    PolicyValue,
    boolean,
    defined,
    key,
    list_of,
    maybe,
    parsed,
    section,
    with_keys,
)
from seccompgen.policy.groups import is_mention

if TYPE_CHECKING:
    from collections.abc import Sequence

ALLOW, DENY = "allow", "deny"
_NAME = re.compile("[A-Z][A-Z0-9_]*")
_PREFIX = re.compile("IORING_(OP|REGISTER)_")


def _parse_answer(text: object) -> object:
    if not isinstance(text, str) or text not in {ALLOW, DENY}:
        near = did_you_mean(str(text), (ALLOW, DENY))
        raise ValueError(
            f"the answer to an operation is allow or deny, not {text!r}{near}: "
            "it fails with EACCES, and nothing is logged"
        )
    return text


def _parse_default(text: object) -> object:
    if text != DENY:
        raise ValueError(
            f"'default_action' of io_uring must be deny, not {text!r}: a newer kernel has "
            "operations that nobody has thought of"
        )
    return text


def _parse_name(text: object) -> object:
    """Return ``text`` if it may name an operation or a group; raise ValueError if not."""
    if isinstance(text, str) and (_NAME.fullmatch(text) or is_mention(text)):
        if found := _PREFIX.match(text):
            raise ValueError(f"write {text[found.end() :]}, without {found[0]}")
        return str.__str__(text)
    hint = f" (did you mean {text.upper()!r}?)" if isinstance(text, str) and text else ""
    raise ValueError(f"{text!r} is not the name of an operation, such as READV or '@read'{hint}")


def _parse_when(text: object) -> object:
    if not isinstance(text, str):
        raise ValueError(f"'when' must be an expression such as port == 5432, not {text!r}")
    from seccompgen.policy.ring_expressions import parse_ring_condition  # noqa: PLC0415 - ipaddress

    parse_ring_condition(text)
    return text


def _parse_without(text: object) -> object:
    values = {one.value: one for one in Without}
    if isinstance(text, Without):
        return text
    if not isinstance(text, str) or text not in values:
        near = did_you_mean(str(text), values)
        raise ValueError(f"'without' must be {' or '.join(values)}, not {text!r}{near}")
    return values[text]


_name = parsed(_parse_name, {"type": "string"})


@with_keys
class OperationGroup(PolicyValue):
    """Operations of a ring that get one answer."""

    action: str = key(
        parsed(_parse_answer, {"enum": [ALLOW, DENY]}),
        "`allow` or `deny`: the operation fails with EACCES.",
        kw_only=False,
    )
    names: Sequence[str] = key(
        list_of(_name, least=1),
        "Operations by the kernel's names, such as `READV`, and groups such as `'@read'`.",
        kw_only=False,
    )
    when: str | None = key(
        maybe(parsed(_parse_when, {"type": "string", "minLength": 1})),
        "An expression that must hold, such as `addr in 10.0.0.0/8 and port == 5432`.",
        default=None,
    )


@with_keys
class IoUring(PolicyValue):
    """The section ``io_uring``: the first group that matches an operation decides it."""

    default_action: str = key(
        parsed(_parse_default, {"const": DENY}),
        "The answer to all other operations, and to those of newer kernels: `deny`.",
    )
    without: Without = key(
        parsed(_parse_without, {"enum": [one.value for one in Without]}),
        "What `install()` does on kernels that cannot filter rings: `refuse_rings`, so that "
        "none can be made, or `fail`.",
        "`refuse_rings`",
        default=Without.REFUSE_RINGS,
    )
    register: Sequence[str] | None = key(
        maybe(list_of(_name)),
        "What `io_uring_register` may do, by the kernel's names, such as `BUFFERS`.",
        "`'@basic'`",
        default=None,
    )
    mirror: bool = key(
        boolean,
        "`true`: operations that `operations` does not name follow the rules in `syscalls` for the "
        "calls that do the same.",
        "`false`",
        default=False,
    )
    operations: Sequence[OperationGroup] | None = key(
        maybe(list_of(section(OperationGroup, defined("operation_group")))),
        "The rules: the first that matches an operation decides it.",
        "required without `mirror`",
        default=None,
    )
