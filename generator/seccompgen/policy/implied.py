"""Calls that a program needs but a recording may miss: to wait, to handle signals and to end.

A recording that ends by a signal shows no end, and timing decides whether a lock is contended, or a
child still runs when its parent waits. Each rule states which calls imply another one, and why. The
implied calls affect only the process itself, its threads and its children. kill and tgkill could do
more, so they are implied only if a runtime is known to make them, or for a signal that the program
catches and that does little harm to others: SIGCHLD has no effect on a process unless it waits for
that signal. SIGPIPE ends processes that leave it at its default; docs/record.md describes this
cost.

Sources: signal(7), sigreturn(2), restart_syscall(2), futex(2). The kernel: ``set_restart_fn`` is
called in kernel/futex/waitwake.c, kernel/time/{hrtimer,alarmtimer,posix-cpu-timers}.c, and for poll
in fs/select.c; arch/*/kernel/signal*.c choose between sigreturn and rt_sigreturn by SA_SIGINFO.
glibc: sysdeps/unix/sysv/linux/_exit.c, nptl/pthread_create.c (start_thread: madvise, exit),
nptl/futex-internal.c (futex_time64), and raise. dash: waitproc in src/jobs.c. mksh: held_sigchld in
jobs.c. coreutils: sighandler in src/sort.c. Go: runtime/os_linux.go (signalM) and
runtime/lock_futex.go (osyield).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import Comparison, Op

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet


class RunFacts(NamedTuple):
    """The facts of a recorded run on one ABI.

    ``called`` are the names of calls, including those of a startup that the policy leaves out.
    ``threads`` and ``processes`` are True if a process started a thread, or another process.
    ``late`` is True if the beginning is left out, ``unseen`` if it was not recorded and may have
    made any call. ``catches`` are the numbers of signals for which some process has a handler.
    """

    called: AbstractSet[str]
    threads: bool = False
    processes: bool = False
    late: bool = False
    unseen: bool = False
    catches: AbstractSet[int] = frozenset()


class NeededCall(NamedTuple):
    """A call that is needed, and why; if it has ``conditions``, one of them must hold."""

    name: str
    why: str
    conditions: tuple[Comparison, ...] = ()


class _Rule(NamedTuple):
    """A rule: ``name`` is needed if of each set in ``beside`` at least one call was made.

    ``threads``, ``processes`` and ``late`` are facts that must hold as well. With ``sends``, that
    signal must be caught; ``argument`` is the index of the signal's argument, None if the call has
    none.
    """

    name: str
    why: str
    beside: tuple[frozenset[str], ...] = ()
    threads: bool = False
    processes: bool = False
    late: bool = False
    sends: int = 0
    argument: int | None = None

    @property
    def conditions(self) -> tuple[Comparison, ...]:
        """The condition that the call sends the signal ``sends``; empty without ``argument``."""
        if self.argument is None:
            return ()
        return (Comparison(self.argument, Op.EQ, self.sends, width=32),)

    def holds(self, facts: RunFacts) -> bool:
        return (
            (facts.unseen or all(names & facts.called for names in self.beside))
            and (not self.sends or self.sends in facts.catches)
            and facts.threads >= self.threads
            and facts.processes >= self.processes
            and facts.late >= self.late
        )


SIGPIPE, SIGCHLD = 13, 17
"""Numbers of signals on all ABIs, except that SIGCHLD is 18 on MIPS and parisc."""
CAUGHT = frozenset({SIGPIPE, SIGCHLD})
"""Signals for which some rule depends on a handler."""


def _any(*names: str) -> frozenset[str]:
    return frozenset(names)


_HANDLES = _any("rt_sigaction", "sigaction", "signal")
_THREADED = _any("clone", "clone3", "set_robust_list", "set_tid_address")
"""Calls of threads and of the C library's start: a library may start a thread at any moment."""
_LOCKS = "locks wait by it when they are contended"
_RETURNS = "signal handlers return by it"
_WAITS = "a shell's wait sleeps by it while children run"
_COLLECTS = "a parent learns by it how a child ended"
_INTERRUPTS = "among others, by runtimes that interrupt their own threads, as Go's does"
_CLEANS = "sort, for one, ends by SIGPIPE itself when it has removed its files"
_RUNTIME = tuple(map(_any, ("gettid", "sigaltstack", "rt_sigaction", "sched_getaffinity")))
"""Calls that Go's runtime makes as it starts; few other programs make all of them."""

_RULES = (
    _Rule("exit_group", "processes end by it"),
    _Rule("exit", "threads end by it", threads=True),
    _Rule("madvise", "a thread that ends gives its stack back by it", threads=True),
    _Rule("futex", _LOCKS, (_THREADED,)),
    _Rule("futex_time64", _LOCKS, (_THREADED,)),
    _Rule("sched_yield", "locks that spin give way by it", threads=True),
    _Rule("rt_sigreturn", _RETURNS, (_HANDLES,)),
    _Rule("sigreturn", _RETURNS, (_HANDLES,)),
    _Rule("wait4", _COLLECTS, processes=True),
    _Rule("rt_sigsuspend", _WAITS, (_any("rt_sigaction"),), processes=True),
    _Rule("sigsuspend", _WAITS, (_any("sigaction", "signal"),), processes=True),
    _Rule("getpid", _INTERRUPTS, _RUNTIME, threads=True),
    _Rule("tgkill", _INTERRUPTS, _RUNTIME, threads=True),
    _Rule(
        "restart_syscall",
        "the kernel makes it where a stop interrupts a call that waits",
        (
            _any(
                *("nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "poll"),
                *("futex", "futex_time64"),
            ),
        ),
    ),
    _Rule(
        "kill",
        "mksh, for one, sends itself a SIGCHLD for which it was not ready",
        processes=True,
        sends=SIGCHLD,
        argument=1,
    ),
    _Rule("getpid", _CLEANS, sends=SIGPIPE),
    _Rule("gettid", _CLEANS, sends=SIGPIPE),
    _Rule("tgkill", _CLEANS, sends=SIGPIPE, argument=2),
    _Rule("tkill", _CLEANS, sends=SIGPIPE, argument=1),
    # If the beginning is recorded, so is the first use: there is no key before it.
    _Rule("getrandom", "the vDSO makes it, too, when the kernel has a new key", late=True),
)
"""The rules, in an order in which each may imply the conditions of later ones."""

REASONS = frozenset(rule.why for rule in _RULES)
_WHY = {rule.name: rule.why for rule in _RULES if not rule.sends}


def implied(facts: RunFacts, has: Iterable[str]) -> list[NeededCall]:
    """Return the calls that ``facts`` imply, limited to those in ``has``, the calls of an ABI."""
    numbered, called = {*has}, {*facts.called}
    found: dict[str, NeededCall] = {}
    for rule in _RULES:
        known = facts._replace(called=called)
        if rule.name in numbered and rule.holds(known):
            called.add(rule.name)
            found.setdefault(rule.name, NeededCall(rule.name, rule.why, rule.conditions))
    return [*found.values()]


def why(name: str) -> str:
    """Return why a call may be needed although it was not recorded; "" if no rule implies it."""
    return _WHY.get(name, "")
