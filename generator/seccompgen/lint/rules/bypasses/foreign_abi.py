"""A call is refused through one ABI, but not through another ABI of the same kernel.

The same kernel serves several ABIs with numbers of their own: i386 and x32 on x86_64, arm on
aarch64. A filter that takes these numbers for its own, or lets them pass, refuses nothing. On MIPS
the kernel finds a call by its number, whatever the program's ABI is. A policy with `compat_arches`
gets the finding if another ABI permits what its own refuses on purpose, by the same call or one in
its place, such as `mmap2` or `socketcall`. The reverse is a note: the kernel may have bugs there.

```diff
 default_action: allow
 arches: [x86_64]
-bad_arch_action: allow
 syscalls:
 - {action: errno, names: [acct]}
```
"""

from collections.abc import Iterable, Iterator, Sequence

from seccompgen.core.errors import UndecidedError
from seccompgen.core.sets import Box
from seccompgen.lint.registry import rule
from seccompgen.lint.rule import (
    CallPattern,
    FilterView,
    Finding,
    Findings,
    LintRule,
    Severity,
    Witness,
)

_FIRST = (
    "execve execveat open openat socket connect ptrace clone fork unshare mount io_uring_setup bpf "
    "kill unlink unlinkat write ioctl"
)
"""Calls to examine first, so that a witness shows something grave."""
_MOST_NAMED = 4


def _check(
    served: Sequence[FilterView], foreign: Sequence[FilterView]
) -> Iterator[tuple[FilterView, Iterable[Finding]]]:
    native, *others = served
    yield native, _foreign(native, foreign)
    for other in others:
        yield native, _refused_less(other, native, Severity.WARNING)
        # The kernel may have bugs through another ABI alone.
        yield other, _refused_less(native, other, Severity.NOTE)


def _foreign(native: FilterView, others: Iterable[FilterView]) -> Findings:
    """Yield the ABIs through which calls are permitted that ``native`` refuses."""
    names = dict.fromkeys((*_FIRST.split(), *native.table.numbers))
    for view in others:
        found = (_opened(name, native, view) for name in names)
        yield from filter(None, [next(filter(None, found), None)])


def _also(name: str) -> tuple[CallPattern, ...]:
    """Return the calls that other ABIs have in the place of a call."""
    if name == "mmap":
        return (CallPattern("mmap2"),)
    multiplexed = rule("multiplexed-way").bypasses
    return tuple(other for one in multiplexed if one.calls[0].call == name for other in one.others)


def _opened(name: str, native: FilterView, view: FilterView) -> Finding | None:
    refused = native.answer(name)
    if refused is None or refused.permitted or not refused.refused or not view.has(name):
        return None
    if refused.only is not None and native.is_enosys(refused.only):
        return None
    try:
        answer = view.answer_to(view.table.numbers[name])
    except UndecidedError:
        return None
    if not answer.permitted:
        return None
    abi = view.abi.name
    return RULE.finding(
        f"{name} is refused through {native.abi.name}, but permitted through {abi}, which the same "
        "kernel serves",
        f"refuse all calls through {abi}, or match them by their own numbers",
        view=view,
        witness=view.shown(name, answer.permitted[0]),
        beside=native.shown(name, refused.refused[0]),
    )


def _refused_less(view: FilterView, other: FilterView, severity: Severity) -> Findings:
    """Yield a finding on calls that are refused on purpose through the ABI of ``other`` alone.

    Through that of ``view`` the filter permits them, or another call in their place.
    """
    names = dict.fromkeys((*_FIRST.split(), *other.table.numbers))
    found: list[tuple[CallPattern, Box, Witness]] = []
    for name in names:
        refused, answer = other.refused_on_purpose(name), other.answer(name)
        # If the call is refused there, too, a bypass through that ABI is about the others.
        also = () if view.refused_on_purpose(name) or not refused else _also(name)
        for one in (*also, CallPattern(name)) if refused else ():
            permitted = _permitted(one, view, whole=bool(answer and answer.permitted))
            if permitted is not None:
                found.append((one, permitted, other.shown(name, refused[0])))
    if not found:
        return
    first, permitted, beside = found[0]
    calls = list(dict.fromkeys(one.call for one, _, _ in found))
    more = f" and {len(calls) - _MOST_NAMED} more" if len(calls) > _MOST_NAMED else ""
    yield RULE.finding(
        f"{', '.join(calls[:_MOST_NAMED])}{more} {'is' if len(calls) == 1 else 'are'} permitted "
        f"through {view.abi.name}, for which the filter answers as well, but refused through "
        f"{other.abi.name}",
        f"refuse them through {view.abi.name}, too",
        severity,
        view=view,
        witness=view.shown(first.call, permitted),
        beside=beside,
    )


def _permitted(one: CallPattern, view: FilterView, *, whole: bool) -> Box | None:
    """Return permitted arguments of a call; None without any, or if ``whole`` and not all are."""
    answer = view.answer(one.call)
    permitted = list(one.inside(answer.permitted, view)) if answer else []
    if answer is None or not permitted:
        return None
    count = len(list(one.inside((box for box, _ in answer.parts), view))) if whole else 0
    return None if count > len(permitted) else permitted[0]


RULE = LintRule("foreign-abi", Severity.WARNING, check_program=_check)
