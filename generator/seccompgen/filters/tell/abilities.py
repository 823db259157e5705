"""Abilities of a confined process, in plain words: to start a program, to open a raw socket.

Each ability is a set of calls, some with a condition in the policy language. The arguments that the
filter permits are compared with the condition as sets, exactly: a process has the ability if any of
them are permitted, and has it in part if not all are.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError, UndecidedError
from seccompgen.core.filter_summary import Ability, AbilityCall, Condition, Permission, Way
from seccompgen.core.model import condition_for
from seccompgen.core.sets import EVERYTHING, NOTHING, Sets
from seccompgen.filters.find.value_conditions import conditions_of
from seccompgen.formats import load_policy
from seccompgen.kernel.powers import powers
from seccompgen.lint import FilterView, LintedFilter, views_of
from seccompgen.policy.document import read_document
from seccompgen.verify import meaning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Rule
    from seccompgen.core.sets import Box
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.load import LoadedFilter

_NAMESPACES = "CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID"
_OTHER_NAMESPACES = f"{_NAMESPACES} | CLONE_NEWUTS"
_ALL_NAMESPACES = f"{_OTHER_NAMESPACES} | CLONE_NEWUSER"
_INTERNET = "family in {AF_INET, AF_INET6}"
_TYPE = "type & 0xf"


class _Given(NamedTuple):
    """A call that gives an ability where the condition ``when`` holds; empty for always.

    Where all of ``plain`` is permitted, the ability is there without reserve, whatever is refused
    of the rest.
    """

    name: str
    when: str = ""
    plain: str = ""


@dataclass(frozen=True, slots=True)
class _Query:
    """An ability: ``calls`` that give it, and ``conditional`` calls that do with a condition.

    ``=kill`` is each call that gives the same as ``kill``, as the table of powers has it; a
    ``power`` is a kind of that table, whose calls all give it. A ``limit`` says why a process that
    may make the calls still has it in part only.
    """

    title: str
    calls: str = ""
    conditional: tuple[_Given, ...] = ()
    limit: str = ""
    power: str = ""

    @property
    def given(self) -> tuple[_Given, ...]:
        of_power = (_Given(call, when) for call, when in powers().given(self.power))
        return (*of_power, *map(_Given, _spelled_out(self.calls)), *self.conditional)


def _spelled_out(calls: str) -> Iterator[str]:
    for call in calls.split():
        yield from powers().same(call[1:]) if call.startswith("=") else (call,)


def _socket(*whens: str, plain: str = "") -> tuple[_Given, ...]:
    """Return the calls that make a socket; what one is asked for lies in memory for socketcall."""
    first, *others = (_Given("socket", when, plain) for when in whens)
    return (first, *others, _through_socketcall("SOCKET"))


def _through_socketcall(name: str) -> _Given:
    return _Given("socketcall", f"call == SYS_{name}")


def _opening(*access: str) -> tuple[_Given, ...]:
    """Return the calls that open files so; they do plainly as a C library's fopen has it."""
    when = f"flags & O_ACCMODE in {{{', '.join(access)}}}"
    plain = f"flags in {{{access[0]}, {access[0]} | O_CLOEXEC}}"
    return _Given("open", when, plain), _Given("openat", when, plain)


ABILITIES: dict[str, tuple[_Query, ...]] = {
    "Programs and processes": (
        _Query("Execute another program", power="exec"),
        _Query(
            "Start a process",
            "fork vfork clone3",
            (
                _Given(
                    "clone",
                    "not flags & CLONE_THREAD",
                    f"not flags & (CLONE_THREAD | {_ALL_NAMESPACES})",
                ),
            ),
        ),
        _Query(
            "Start a thread",
            "clone3",
            (
                _Given(
                    "clone",
                    "flags & CLONE_THREAD",
                    f"flags & CLONE_THREAD and not flags & ({_ALL_NAMESPACES})",
                ),
            ),
        ),
        _Query("Send signals to processes", "=kill"),
        _Query("Trace other processes", "ptrace"),
        _Query("Read or change another process's memory", "process_vm_readv process_vm_writev"),
        _Query("Take descriptors from another process", "pidfd_getfd"),
        _Query(
            "Change limits or memory of another process",
            "process_madvise process_mrelease =migrate_pages",
            (_Given("prlimit64", "pid != 0"),),
        ),
        _Query("Change its limits, priority and scheduling", power="limits"),
        _Query(
            "Make memory executable",
            "remap_file_pages",
            tuple(
                _Given(name, "prot & PROT_EXEC")
                for name in ("mmap", "mmap2", "mprotect", "pkey_mprotect")
            ),
        ),
        _Query("Handle page faults itself", "userfaultfd"),
        _Query(
            "Use io_uring, which no filter sees into",
            "io_uring_setup io_uring_enter io_uring_register",
        ),
        _Query("Meet processes by shared memory, queues and semaphores", power="ipc"),
    ),
    "Files": (
        _Query("Open files to read them", "openat2 open_by_handle_at", _opening("O_RDONLY")),
        _Query(
            "Open files to write to them",
            "creat openat2 open_by_handle_at =truncate",
            _opening("O_WRONLY", "O_RDWR"),
        ),
        _Query(
            "Look at files by their names",
            "=stat =access =readlink =getxattr =listxattr file_getattr =statfs =listmount",
        ),
        _Query("Open files by handle, whatever directory they are in", "open_by_handle_at"),
        _Query(
            "Create, rename or remove files",
            "creat openat2 =link =symlink =rename =unlink =mkdir rmdir =mknod",
            (_Given("open", "flags & O_CREAT"), _Given("openat", "flags & O_CREAT")),
        ),
        _Query("Change owner or mode of files", "=chown =chmod"),
        _Query(
            "Change attributes of files, capabilities of programs among them",
            "=setxattr =removexattr file_setattr",
        ),
        _Query("Watch all files of a mount", "fanotify_init fanotify_mark"),
        _Query("Give ioctl commands to devices", "ioctl"),
        _Query("Push input into its terminal", "", (_Given("ioctl", "cmd == TIOCSTI"),)),
    ),
    "Network": (
        _Query(
            "Make an internet socket",
            "",
            _socket(_INTERNET, plain=f"{_INTERNET} and {_TYPE} in {{SOCK_STREAM, SOCK_DGRAM}}"),
        ),
        _Query(
            "Make a raw socket: any protocol over IP",
            "",
            _socket(f"{_INTERNET} and {_TYPE} == SOCK_RAW"),
        ),
        _Query(
            "Make a packet socket: read and write whole frames",
            "",
            _socket("family == AF_PACKET", f"family == AF_INET and {_TYPE} == SOCK_PACKET"),
        ),
        _Query("Make a netlink socket: configure the network", "", _socket("family == AF_NETLINK")),
        _Query("Make a local (AF_UNIX) socket", "", _socket("family == AF_UNIX")),
        _Query(
            "Make a socket of any other family, such as AF_ALG or AF_VSOCK",
            "",
            _socket("family not in {AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX}"),
        ),
        _Query("Connect a socket", "connect", (_through_socketcall("CONNECT"),)),
        _Query("Send to addresses", "=sendmsg", (_Given("sendto", "addr != 0"),)),
        _Query("Bind a socket to an address", "bind", (_through_socketcall("BIND"),)),
        _Query("Accept connections", "=accept", (_through_socketcall("ACCEPT"),)),
    ),
    "Users and namespaces": (
        _Query("Change its user or groups", "=setuid =setgid =setgroups =setfsuid =setfsgid"),
        _Query("Change its capabilities", "capset"),
        _Query(
            "Make a user namespace",
            "clone3",
            (
                _Given("clone", "flags & CLONE_NEWUSER"),
                _Given("unshare", "unshare_flags & CLONE_NEWUSER"),
            ),
        ),
        _Query(
            "Make other namespaces",
            "clone3",
            (
                _Given("clone", f"flags & ({_OTHER_NAMESPACES})"),
                _Given("unshare", f"unshare_flags & ({_OTHER_NAMESPACES} | CLONE_NEWTIME)"),
            ),
        ),
        _Query("Enter namespaces of others", "setns"),
        _Query("Change its root directory", "chroot fchroot"),
        _Query(
            "Mount, move or unmount file systems",
            "=mount =umount fsopen fspick fsconfig fsmount move_mount =open_tree mount_setattr "
            "pivot_root",
        ),
    ),
    "The machine": (
        _Query("Load or unload modules of the kernel", "=init_module delete_module"),
        _Query("Call bpf(): load programs, make maps", "bpf"),
        _Query("Use keys that the kernel keeps", "=add_key"),
        _Query("Watch with performance counters", "perf_event_open"),
        _Query("Read the kernel's log", "syslog"),
        _Query("Set the machine's clock", "=settimeofday"),
        _Query(
            "Adjust the machine's clock",
            "=adjtimex",
            limit="without CAP_SYS_TIME it only reads: modes 0 reads, other modes adjust, but they "
            "lie in memory, where no filter sees them",
        ),
        _Query(
            "Change its names, swap space, quotas or accounting",
            "sethostname setdomainname =swapon swapoff =quotactl acct",
        ),
        _Query(
            "Reach the hardware past its drivers",
            "=iopl pciconfig_read pciconfig_write pciconfig_iobase rtas s390_pci_mmio_read "
            "s390_pci_mmio_write",
        ),
        _Query("Stop the machine, or start another kernel", "reboot =kexec_load"),
    ),
}
"""By what they are about, in the order in which they are shown."""


def abilities(loaded: LoadedFilter, tables: Tables) -> tuple[Ability, ...]:
    """Return what the filter says to each ability: the calls that give it, and where."""
    finder = _Finder(loaded, tables)
    return tuple(finder.ability(group, one) for group, asked in ABILITIES.items() for one in asked)


class _AbilityPart(NamedTuple):
    """A filter's answer to one call that gives an ability, on one ABI.

    ``permitted`` are the arguments that give it and are permitted, ``others`` those that give it
    and are not. It is ``whole`` if all that count are permitted.
    """

    permitted: Sequence[Box]
    others: Sequence[Box]
    whole: bool
    asked: bool


_UNTOLD = _AbilityPart([EVERYTHING], [], whole=True, asked=False)
"""Where it cannot be told, all counts as permitted."""
_MOST_NODES = 20_000
"""So many nodes the sets of one answer may need; beyond, it cannot be told."""


class _Finder:
    def __init__(self, loaded: LoadedFilter, tables: Tables) -> None:
        self._sets = Sets()
        self._tables = tables
        self._views = tuple(_views(loaded, tables, self._sets))
        self._conditions = _Conditions(self._views, tables, self._sets)

    def ability(self, group: str, asked: _Query) -> Ability:
        names = dict.fromkeys(one.name for one in asked.given)
        conditions: dict[str, dict[Condition, list[Way]]] = defaultdict(lambda: defaultdict(list))
        here: dict[Way, bool] = {}
        supervised = False
        for view in self._views:
            way = Way(view.program.name, view.abi.name)
            for name in filter(view.has, names):
                here.setdefault(way, False)
                parts = [self._part(view, one) for one in asked.given if one.name == name]
                supervised |= any(part.asked for part in parts)
                if any(part.permitted for part in parts):
                    whole = all(part.whole for part in parts)
                    here[way] |= whole
                    when = _ALWAYS if whole else self._condition(view, name, parts)
                    conditions[name][when].append(way)
        permitted = tuple(
            AbilityCall(name, tuple((when, tuple(ways)) for when, ways in conditions[name].items()))
            for name in names
            if name in conditions
        )
        ways = {way for one in permitted for _, ways in one.conditions for way in ways}
        return Ability(
            group,
            asked.title,
            Permission.YES
            if permitted and all(here.values()) and not asked.limit
            else Permission.PARTLY
            if permitted
            else Permission.ASKED
            if supervised
            else Permission.NO,
            permitted,
            tuple(name for name in names if name not in conditions and self._anywhere(name)),
            tuple(way for way in here if way in ways),
            asked.limit if permitted else "",
        )

    def _anywhere(self, name: str) -> bool:
        return any(view.has(name) for view in self._views)

    def _part(self, view: FilterView, given: _Given) -> _AbilityPart:
        answer = view.answer(given.name)
        if answer is None:  # it cannot be told
            return _UNTOLD
        wanted = self._conditions.boxes(given.name, given.when, view.abi)
        plain = self._conditions.boxes(given.name, given.plain or given.when, view.abi)
        try:
            with self._sets.attempt(_MOST_NODES):
                return _AbilityPart(
                    self._common(answer.permitted, wanted),
                    self._left(wanted, answer.permitted),
                    whole=not self._left(plain, answer.permitted),
                    asked=bool(self._common(answer.asked, wanted)),
                )
        except UndecidedError:
            return _UNTOLD

    def _common(self, some: Iterable[Box], others: Sequence[Box]) -> list[Box]:
        both = (self._sets.common(one, other) for one in some for other in others)
        return [box for box in both if NOTHING not in box]

    def _left(self, boxes: Sequence[Box], cuts: Iterable[Box]) -> list[Box]:
        """Return what ``cuts`` leave of ``boxes``."""
        left = list(boxes)
        for cut in cuts:
            left = [part for box in left for part in self._sets.without(box, cut)]
        return left

    def _condition(self, view: FilterView, name: str, parts: Sequence[_AbilityPart]) -> Condition:
        """Return when the calls that give an ability are permitted, or refused if that is short."""
        permitted = self._text(view, name, [box for part in parts for box in part.permitted])
        refused = self._text(view, name, [box for part in parts for box in part.others])
        longest = _LONGEST if permitted is None else len(permitted) * 3 // 4
        if refused is not None and len(refused) <= longest:
            return Condition(refused, excepted=True)
        return Condition(permitted)

    def _text(self, view: FilterView, name: str, boxes: Sequence[Box]) -> str | None:
        rules = (
            rule
            for rule in (view.policy.rules if view.policy else ())
            if rule.name == name and rule.applies_to(view.abi) and rule.action.kind.lets_through
        )
        try:
            tests = conditions_of(self._sets, boxes, rules, view.abi)
        except UndecidedError:
            return None
        text = self._tables.naming.alternatives(tests, name, view.abi)
        return text if len(text) <= _LONGEST else None


_ALWAYS = Condition("")
_LONGEST = 200


def _views(loaded: LoadedFilter, tables: Tables, sets: Sets) -> Iterator[FilterView]:
    for name, side in loaded.sides.items():
        policy = loaded.policy
        subject = LintedFilter(str(loaded.path), loaded.sides, policy)
        meant = meaning(policy, ABIS[name], tables) if policy else side
        yield from views_of(ABIS[name], meant, subject, tables, sets)[0]


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
