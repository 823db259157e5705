"""Abilities of a confined process, in plain words: to start a program, to open a socket.

Each ability is a set of calls, some with a condition in the policy language. A process has it if
the filter permits one of these calls: the arguments that are permitted are compared with the
condition as sets, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError, UndecidedError
from seccompgen.core.filter_summary import Ability
from seccompgen.core.model import condition_for
from seccompgen.core.sets import EVERYTHING, NOTHING, Sets
from seccompgen.lint import FilterView, LintedFilter, views_of
from seccompgen.policy import load_policy
from seccompgen.policy.document import read_document
from seccompgen.verify import meaning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Rule
    from seccompgen.core.sets import Box
    from seccompgen.core.tables import Tables
    from seccompgen.filters.load import LoadedFilter

_WRITES = "flags & O_ACCMODE in {O_WRONLY, O_RDWR}"
_NAMESPACES = (
    "CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER "
    "| CLONE_NEWUTS"
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """An ability: ``calls`` that give it, and ``conditional`` calls that do with a condition."""

    title: str
    calls: str
    conditional: tuple[tuple[str, str], ...] = ()


def _through_socketcall(name: str) -> tuple[str, str]:
    return "socketcall", f"call == SYS_{name}"


ABILITIES = (
    _Asked("Execute another program", "execve execveat"),
    _Asked(
        "Start a process",
        "fork vfork clone3",
        (("clone", "not flags & CLONE_THREAD"),),
    ),
    _Asked("Start a thread", "clone3", (("clone", "flags & CLONE_THREAD"),)),
    _Asked(
        "Open files to read them",
        "openat2 open_by_handle_at",
        (
            ("open", "flags & O_ACCMODE == O_RDONLY"),
            ("openat", "flags & O_ACCMODE == O_RDONLY"),
        ),
    ),
    _Asked(
        "Open files to write to them",
        "creat openat2 open_by_handle_at truncate truncate64",
        (("open", _WRITES), ("openat", _WRITES)),
    ),
    _Asked(
        "Create, rename or remove files",
        "creat openat2 link linkat symlink symlinkat rename renameat renameat2 unlink unlinkat "
        "mkdir mkdirat rmdir mknod mknodat",
        (("open", "flags & O_CREAT"), ("openat", "flags & O_CREAT")),
    ),
    _Asked(
        "Change owner or mode of files",
        "chown chown32 fchown fchown32 fchownat lchown lchown32 chmod fchmod fchmodat fchmodat2",
    ),
    _Asked(
        "Make an internet socket",
        "",
        (("socket", "family in {AF_INET, AF_INET6}"), _through_socketcall("SOCKET")),
    ),
    _Asked(
        "Make a local (AF_UNIX) socket",
        "",
        (("socket", "family == AF_UNIX"), _through_socketcall("SOCKET")),
    ),
    _Asked("Connect a socket", "connect", (_through_socketcall("CONNECT"),)),
    _Asked("Bind a socket to an address", "bind", (_through_socketcall("BIND"),)),
    _Asked("Accept connections", "accept accept4", (_through_socketcall("ACCEPT"),)),
    _Asked(
        "Make memory executable",
        "remap_file_pages",
        tuple(
            (name, "prot & PROT_EXEC") for name in ("mmap", "mmap2", "mprotect", "pkey_mprotect")
        ),
    ),
    _Asked(
        "Send signals to processes",
        "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal",
    ),
    _Asked(
        "Trace other processes, or change their memory",
        "ptrace process_vm_readv process_vm_writev pidfd_getfd",
    ),
    _Asked(
        "Change its user or groups",
        "setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid "
        "setresuid32 setresgid setresgid32 setgroups setgroups32 setfsuid setfsgid capset",
    ),
    _Asked(
        "Make or enter namespaces", "unshare setns clone3", (("clone", f"flags & ({_NAMESPACES})"),)
    ),
    _Asked(
        "Mount file systems, change the root directory",
        "mount umount umount2 fsopen fsmount move_mount open_tree mount_setattr pivot_root chroot",
    ),
    _Asked("Load modules into the kernel", "init_module finit_module"),
    _Asked("Load BPF programs", "bpf"),
    _Asked("Use io_uring, which no filter sees into", "io_uring_setup io_uring_enter"),
    _Asked("Use keys that the kernel keeps", "add_key keyctl request_key"),
    _Asked("Set the machine's clock", "settimeofday clock_settime clock_settime64 adjtimex"),
    _Asked("Stop the machine, or start another kernel", "reboot kexec_load kexec_file_load"),
    _Asked("Give ioctl commands to devices", "ioctl"),
)
"""In the order in which they are shown."""


def abilities(loaded: LoadedFilter, tables: Tables) -> tuple[Ability, ...]:
    """Return for each ability the calls that give it, on ABIs where the filter permits them."""
    sets = Sets()
    views = list(_views(loaded, tables, sets))
    conditions = _Conditions(views, tables, sets)
    found = []
    for asked in ABILITIES:
        giving: dict[str, list[str]] = {}
        having: dict[str, None] = {}
        for view in views:
            for name, when in (*((one, "") for one in asked.calls.split()), *asked.conditional):
                if not view.has(name):
                    continue
                having[name] = None
                if _permitted(view, name, conditions.boxes(name, when, view.abi), sets):
                    giving.setdefault(name, []).append(view.abi.name)
        on = [
            view.abi.name
            for view in views
            if any(view.abi.name in abis for abis in giving.values())
        ]
        found.append(Ability(asked.title, tuple(giving), tuple(having), tuple(dict.fromkeys(on))))
    return tuple(found)


def _views(loaded: LoadedFilter, tables: Tables, sets: Sets) -> Iterator[FilterView]:
    for name, side in loaded.sides.items():
        policy = loaded.policy
        subject = LintedFilter(str(loaded.path), loaded.sides, policy)
        meant = meaning(policy, ABIS[name], tables) if policy else side
        yield from views_of(ABIS[name], meant, subject, tables, sets)[0]


def _permitted(view: FilterView, name: str, boxes: Iterable[Box], sets: Sets) -> bool:
    """Return True if some call of ``boxes`` is made; and where that cannot be told."""
    answer = view.answer(name)
    if answer is None:
        return True
    return any(
        NOTHING not in sets.common(box, wanted) for box in answer.permitted for wanted in boxes
    )


class _Conditions:
    """The arguments for which the condition of an ability holds, on the ABIs of some views."""

    def __init__(self, views: Sequence[FilterView], tables: Tables, sets: Sets) -> None:
        self._abis = tuple(dict.fromkeys(view.abi.name for view in views))
        self._tables = tables
        self._sets = sets
        self._rules: dict[tuple[str, ...], tuple[Rule, ...] | None] = {}

    def boxes(self, name: str, when: str, abi: Abi) -> list[Box]:
        """Return boxes of arguments: everything where the ABI does not have what is asked for."""
        if not when:
            return [EVERYTHING]
        having = [one for one in self._abis if name in self._tables.tables[one].numbers]
        rules = self._read(name, when, *having)
        if rules is None:  # one of the ABIs does not have it
            rules = self._read(name, when, abi.name)
        if rules is None:
            return [EVERYTHING]
        here = [rule for rule in rules if rule.name == name and rule.applies_to(abi)]
        return [self._sets.box(condition_for(rule.condition, abi.argument_bits)) for rule in here]

    def _read(self, name: str, when: str, *abis: str) -> tuple[Rule, ...] | None:
        """Return the rules of a policy for one call on some ABIs; None if one lacks something."""
        key = (name, when, *abis)
        if key not in self._rules:
            text = (
                f"{{arches: [{', '.join(abis)}], default_action: errno, multiplexed: errno, "
                f"syscalls: [{{action: allow, names: [{name}], when: '{when}'}}]}}"
            )
            try:
                policy = load_policy(read_document(text.encode(), "ability"), self._tables)[0]
                self._rules[key] = policy.rules
            except (InputError, UndecidedError):
                self._rules[key] = None
        return self._rules[key]
