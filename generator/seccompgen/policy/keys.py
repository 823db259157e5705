"""The keys of the policy language, each declared once, as dataclasses for programs.

A key is a field declared by `form.key`; files are written in the order of the fields. The checks of
files, the JSON Schema, the writer, and the tables of the documentation derive from these
declarations. Values that a program builds are not checked at construction; errors in them are
reported like those in files.

The language is a superset of go-seccomp-bpf's ``seccomp:`` section.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.model import U32, U64, Action, Op
from seccompgen.core.releases import Release
from seccompgen.core.settings import FilterFlag
from seccompgen.policy.expressions import parse_condition, parse_value
from seccompgen.policy.form import (
    Key,
    PolicyValue,
    ValueForm,
    boolean,
    defined,
    key,
    keys_of,
    list_of,
    mapping_of,
    maybe,
    parsed,
    section,
    text,
    with_keys,
)
from seccompgen.policy.groups import check_own_name, is_mention
from seccompgen.policy.ring_keys import IoUring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seccompgen.policy.document import Path
    from seccompgen.policy.form import Fault

NAME = "[A-Za-z_][A-Za-z0-9_]*"
_NAME = re.compile(NAME)
_KERNEL = "v[0-9]{1,3}\\.[0-9]{1,3}"
_FIRST_FILTERS = Release(3, 5)


def _parse_name(text: object) -> object:
    """Return ``text`` if it is the name or the number of a call; raise ValueError if not."""
    if isinstance(text, int) and not isinstance(text, bool):
        if not -1 <= text <= U32:
            raise ValueError(f"{text} is not the number of a system call: -1 to 2**32-1")
        return text
    if not isinstance(text, str):
        raise ValueError(f"a system call must be a name or a number, not {text!r}")
    if not _NAME.fullmatch(text):
        hint = "; put a group under 'names'" if is_mention(text) else ""
        if "*" in text:
            hint = "; there are no patterns: name the calls, or a group such as '@basic-io'"
        elif " " in text.strip():
            hint = "; write a comma between names"
        elif "(" in text:
            hint = f"; write {text.partition('(')[0]}"
        raise ValueError(f"{text!r} is not the name of a system call{hint}")
    return str.__str__(text)


def _parse_kernel(text: object) -> str:
    """Return ``text``, a mainline release such as ``v6.1``; raise ValueError for anything else.

    The ``v`` keeps YAML from reading 6.10 as the number 6.1. Stable releases are refused: only
    mainline releases add calls.
    """
    if not isinstance(text, str) or not re.fullmatch(_KERNEL, text, re.ASCII):
        raise ValueError(f"'kernel' must be a mainline release such as v6.1, not {text!r}")
    if Release.parse(text) < _FIRST_FILTERS:
        raise ValueError(f"{text} has no seccomp filters: 'kernel' is v{_FIRST_FILTERS} at least")
    return str.__str__(text)


def _parse_argument(value: object) -> object:
    """Return ``value`` if it is an argument's index or name; raise ValueError if not."""
    if isinstance(value, str):
        if not _NAME.fullmatch(value) or value != value.lower():
            raise ValueError(f"{value!r} is not the name of an argument, such as flags or arg1")
    elif not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"'argument' must be a name or 0 to 5, not {value!r}")
    elif not 0 <= value <= 5:
        raise ValueError(f"'argument' must be 0 to 5, not {value}")
    return value


def _parse_when(text: object) -> object:
    if not isinstance(text, str):
        raise ValueError(f"'when' must be an expression such as flags & O_CREAT, not {text!r}")
    parse_condition(text)
    return text


def _parse_item(text: object) -> object:
    return text if isinstance(text, str) and is_mention(text) else _parse_name(text)


def _parse_member(text: object) -> object:
    return _parse_item(text) if isinstance(text, str) else text


def _parse_width(value: object) -> object:
    if not isinstance(value, int | float) or value not in {32, 64}:
        raise ValueError(f"'width' must be 32 or 64, not {value!r}")
    return int(value)


def _check_number(value: object, path: Path, faults: list[Fault]) -> object:
    """Check a number, or the text of a value with constants in it."""

    def parse(value: object) -> object:
        if isinstance(value, str):
            parse_value(value)
        elif not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{path[-1]!r} must be a whole number or a constant, not {value!r}")
        elif not -(1 << 63) <= value <= U64:
            raise ValueError(f"{path[-1]!r} must be -2**63 to 2**64-1, not {value}")
        return value

    return parsed(parse).check(value, path, faults)


def _check_flags(value: object, path: Path, faults: list[Fault]) -> object:
    """Check a list of flags; return them as one value."""
    flags = FilterFlag(0)
    for one in _flag_list.check(value, path, faults) or ():
        flags |= one or 0
    return flags


def _check_groups(value: object, path: Path, faults: list[Fault]) -> object:
    """Check the mapping of the groups that a policy defines; return a tuple of NamedGroup."""
    found = _group_lists.check(value, path, faults) or {}
    return tuple(NamedGroup(name, members) for name, members in found.items())


_action = maybe(parsed(Action.parse, defined("action")))
_call = parsed(_parse_name, {"type": ["string", "integer"]})
_abis = maybe(list_of(ValueForm(text.check, defined("abi")), least=1))
_compat_abis = maybe(list_of(ValueForm(text.check, defined("abi"))))
_when = maybe(parsed(_parse_when, defined("when"), text))
_number = ValueForm(_check_number, defined("value"))
_flag_list = list_of(parsed(FilterFlag.one, defined("flag")))
_member = parsed(_parse_member, {"anyOf": [defined("call"), defined("mention")]}, text)
_group_lists = mapping_of(
    check_own_name, list_of(_member, least=1), {"pattern": "^[A-Za-z_][A-Za-z0-9_-]*$"}
)
_place = parsed(
    _parse_argument,
    {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 5},
            {"type": "string", "pattern": "^[a-z_][a-z0-9_]*$"},
        ]
    },
)


@with_keys
class Condition(PolicyValue):
    """One test of an argument; all conditions of an entry must hold."""

    argument: int | str = key(
        _place, "The argument: its name, or its place from 0 to 5.", "0", absent=0, kw_only=False
    )
    operation: Op = key(parsed(Op.parse, defined("operation")), "The comparison.", kw_only=False)
    value: int | str = key(
        _number, "A number, or constants as in `O_WRONLY|O_RDWR`.", "0", default=0, kw_only=False
    )
    mask: int | str | None = key(
        _number, "For `MaskedEqual`: the bits that are compared.", default=None
    )
    width: int | None = key(
        maybe(parsed(_parse_width, {"enum": [32, 64]})),
        "The bits that are compared, 32 or 64.",
        "those that the kernel reads",
        default=None,
    )


_WHEN = "An expression that must hold, such as `not prot & PROT_EXEC`."


@with_keys
class NameWithConditions(PolicyValue):
    """An entry for a system call whose arguments meet all conditions; it needs at least one."""

    name: str | int = key(_call, "The call.", kw_only=False)
    when: str | None = key(_when, _WHEN, default=None)
    arguments: Sequence[Condition] = key(
        maybe(list_of(section(Condition, defined("argument")), least=1)),
        "Conditions, all of which must hold.",
        default=(),
        kw_only=False,
    )


@with_keys
class SyscallGroup(PolicyValue):
    """System calls that are answered with one action.

    A call matches if it is one of ``names``, or meets an entry of ``names_with_args``; several
    entries may have the same name.
    """

    action: Action = key(
        parsed(Action.parse, defined("action")),
        "The answer to these calls: see [actions](policy.md#actions).",
        kw_only=False,
    )
    arches: Sequence[str] = key(
        _abis, "The ABIs that this group is for.", "all of the policy", default=()
    )
    multiplexed: Action | None = key(
        _action,
        "The answer to [`socketcall` and `ipc`](conditions.md#socketcall-and-ipc) where a "
        "condition cannot be seen there.",
        default=None,
    )
    when: str | None = key(_when, _WHEN, default=None)
    names: Sequence[str | int] = key(
        ValueForm(list_of(parsed(_parse_item)).check, {"type": "array"}),
        "Calls, groups such as `'@basic-io'`, and numbers.",
        default=(),
        kw_only=False,
    )
    optional: bool = key(
        boolean, "Whether an ABI may lack what the rule names, without a note.", default=False
    )
    names_with_args: Sequence[NameWithConditions] = key(
        list_of(section(NameWithConditions, defined("entry"))),
        "Entries, each a `name` and conditions on its [arguments](policy.md#arguments).",
        default=(),
    )


@dataclass(frozen=True, slots=True, repr=False)
class NamedGroup(PolicyValue):
    """A named group of calls; `SyscallGroup.names` mentions a group ``mine`` as ``"@mine"``.

    ``members`` are names of calls, and names of other groups with ``@``.
    """

    name: str
    members: Sequence[str]


@with_keys
class Policy(PolicyValue):
    """A policy: the first group that matches a call decides, from top to bottom.

    ``name`` is the name of its file and module.
    """

    name: str = "policy"
    description: str = key(
        maybe(text), "One paragraph for reviewers; it heads the generated module.", default=""
    )
    arches: Sequence[str] = key(
        _abis,
        "[ABIs](glossary.md#abi) that get a program each, by any name: `x86_64`, `amd64`. "
        "Those that the tables lack are left out, with a note.",
        "all with seccomp filters",
        default=(),
    )
    compat_arches: Sequence[str] = key(
        _compat_abis, "Further ABIs of the same kernel that a program answers for.", default=()
    )
    kernel: str | None = key(
        maybe(parsed(_parse_kernel, {"type": "string", "pattern": f"^{_KERNEL}$"})),
        "The release that the author knew, as `v6.1`: newer calls that no rule names get "
        "`unknown_action`, with any tables ([horizon.md](horizon.md)).",
        default=None,
    )
    default_action: Action = key(
        _action, "The answer to calls that the tables name and no rule matches.", kw_only=False
    )
    unknown_action: Action | None = key(
        _action,
        "The answer to numbers that the pinned tables do not name.",
        "`errno(ENOSYS)` with `kernel`, else `default_action`",
        default=None,
    )
    bad_arch_action: Action | None = key(
        _action, "The answer to calls through any other ABI.", "`kill_process`", default=None
    )
    multiplexed: Action | None = key(
        _action,
        "As in a rule, for all rules.",
        default=None,
    )
    groups: Sequence[NamedGroup] = key(
        ValueForm(_check_groups, _group_lists.schema),
        "Names for lists of calls and groups, mentioned as `'@NAME'`.",
        default=(),
    )
    syscalls: Sequence[SyscallGroup] = key(
        maybe(list_of(section(SyscallGroup, defined("group")))),
        "The rules: the first that matches a call decides it. `[]` answers every call alike.",
        kw_only=False,
    )
    io_uring: IoUring | None = key(
        maybe(section(IoUring, defined("io_uring"))),
        "What rings of io_uring may do: see [io_uring](io-uring.md).",
        "none: only the rules for system calls decide",
        default=None,
    )


@with_keys
class InstallKeys(PolicyValue):
    """The keys for installing a filter."""

    no_new_privs: bool = key(
        maybe(boolean), "Whether `install()` sets the bit first.", "`true`", default=True
    )
    flags: FilterFlag = key(
        maybe(ValueForm(_check_flags, _flag_list.schema)),
        "Flags of seccomp(2): `tsync`, `log`, `spec_allow`, `new_listener`, `tsync_esrch`, "
        "`wait_killable_recv`.",
        "none, which confines only the thread that calls `install()`",
        default=FilterFlag(0),
    )
    install_on_import: bool = key(
        maybe(boolean),
        "Whether importing the generated module installs the filter.",
        "`false`",
        default=False,
    )


_LAST = ("groups", "syscalls", "io_uring")


def _policy_keys() -> Mapping[str, Key]:
    include = Key(
        list_of(text),
        "Files to read first, relative to this one, or "
        "[stock policies](tour.md#stock-filters) by name.",
    )
    every = keys_of(Policy) | keys_of(InstallKeys) | {"include": include}
    return {name: every[name] for name in sorted(every, key=lambda name: name in _LAST)}


POLICY_KEYS: Mapping[str, Key] = _policy_keys()
"""The keys of a policy file by name, in the order in which `yaml_text` writes them."""


def argument_faults(argument: Condition) -> list[str]:
    """Return the errors of a condition whose keys are valid separately but not together."""
    problems = []
    masked = argument.operation is Op.MASKED_EQ
    if masked and argument.mask is None:
        problems.append("MaskedEqual needs a mask: (arg & mask) == value")
    if not masked and argument.mask is not None:
        problems.append("only MaskedEqual takes a mask")
    for name in ("value", "mask"):
        number = getattr(argument, name)
        if argument.width == 32 and isinstance(number, int) and number > U32:
            problems.append(f"{name} {number:#x} does not fit into a width of 32 bits")
    return problems
