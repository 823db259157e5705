"""Calls that a run needs though it need not show them: to wait, to be signalled and to end.

A recording that ends by a signal shows no end, and whether a lock is contended or a child is still
running when its parent waits is a matter of time. Each rule says what brings a call with it, and
why. They act on the process itself, its threads and its children. kill and tgkill could do more, so
that they are implied where a runtime is known to make them, or for a signal that the run catches
and that does little to others: SIGCHLD nothing, unless they wait for it. SIGPIPE ends those that
leave it at its default, so docs/record.md says what the rule costs.

Sources: signal(7), sigreturn(2), restart_syscall(2), futex(2). The kernel: ``set_restart_fn`` is
called in kernel/futex/waitwake.c, kernel/time/{hrtimer,alarmtimer,posix-cpu-timers}.c, and for
poll in fs/select.c; arch/*/kernel/signal*.c choose between sigreturn and rt_sigreturn by
SA_SIGINFO. glibc: sysdeps/unix/sysv/linux/_exit.c,
nptl/pthread_create.c (start_thread: madvise, exit), nptl/futex-internal.c (futex_time64), and
raise. dash: waitproc in src/jobs.c. mksh: held_sigchld in jobs.c. coreutils: sighandler in
src/sort.c. Go: runtime/os_linux.go (signalM) and runtime/lock_futex.go (osyield).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.model import Comparison, Op

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet


class RunFacts(NamedTuple):
    """The facts of a run on one ABI.

    ``called`` are names of calls, those of a startup that is left out among them. ``threads`` and
    ``processes`` say whether a process started a thread, or a process. ``late`` is True where the
    beginning is left out, ``unseen`` where nobody saw it, so that it may have called anything.
    ``catches`` are the numbers of signals that some process has a handler for.
    """

    called: AbstractSet[str]
    threads: bool = False
    processes: bool = False
    late: bool = False
    unseen: bool = False
    catches: AbstractSet[int] = frozenset()


class NeededCall(NamedTuple):
    """A call that is needed, and why: where any of ``conditions`` holds, or always."""

    name: str
    why: str
    conditions: tuple[Comparison, ...] = ()


class _Rule(NamedTuple):
    """``name`` is needed where, of each set in ``beside``, something was called.

    ``threads``, ``processes`` and ``late`` are what else has to be true. With ``sends`` it is
    needed where that signal is caught; ``argument`` is the signal's, None if the call has none.
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
        """The condition that the signal is the one to send."""
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
"""Numbers of signals, as all ABIs have them but MIPS and parisc, whose SIGCHLD is 18."""
CAUGHT = frozenset({SIGPIPE, SIGCHLD})
"""Signals of which it matters whether they are caught."""


def _any(*names: str) -> frozenset[str]:
    return frozenset(names)


_HANDLES = _any("rt_sigaction", "sigaction", "signal")
_THREADED = _any("clone", "clone3", "set_robust_list", "set_tid_address")
"""The C library's start is among them: a library may start a thread at any moment."""
_LOCKS = "locks wait by it when they are contended"
_RETURNS = "signal handlers return by it"
_WAITS = "a shell's wait sleeps by it while children run"
_COLLECTS = "a parent learns by it how a child ended"
_INTERRUPTS = "among others, by runtimes that interrupt their own threads, as Go's does"
_CLEANS = "sort, for one, ends by SIGPIPE itself when it has removed its files"
_RUNTIME = tuple(map(_any, ("gettid", "sigaltstack", "rt_sigaction", "sched_getaffinity")))
"""Calls that Go's runtime makes as it starts, and few other programs make."""

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
    # Otherwise its first use is seen: then there is no key yet.
    _Rule("getrandom", "the vDSO makes it, too, when the kernel has a new key", late=True),
)
"""In an order in which each may bring the next."""

REASONS = frozenset(rule.why for rule in _RULES)
_WHY = {rule.name: rule.why for rule in _RULES if not rule.sends}


def implied(facts: RunFacts, has: Iterable[str]) -> list[NeededCall]:
    """Return the calls that ``facts`` bring with them, of those that an ABI has."""
    numbered, called = {*has}, {*facts.called}
    found: dict[str, NeededCall] = {}
    for rule in _RULES:
        known = facts._replace(called=called)
        if rule.name in numbered and rule.holds(known):
            called.add(rule.name)
            found.setdefault(rule.name, NeededCall(rule.name, rule.why, rule.conditions))
    return [*found.values()]


def why(name: str) -> str:
    """Return what a call is for that is often there though nobody sees it called; "" if none."""
    return _WHY.get(name, "")
