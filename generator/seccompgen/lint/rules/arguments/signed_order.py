"""A signed number is compared unsigned, so negative numbers count as the largest.

The policy below should permit low priorities only, but its `niceval < 10` lets -20 pass. `kill`
with `pid > 1` permits -1, which is every process; `openat` with `dfd > 2` permits AT_FDCWD. Write
`i32()`, which compares as the kernel does.

```diff
 - {action: errno, names: [sched_setattr, sched_setscheduler]}
 - action: errno
   names: [setpriority]
-  when: niceval < 10
+  when: i32(niceval) < 10
```
"""

from typing import NamedTuple

from seccompgen.core.model import U32, U64
from seccompgen.core.sets import ALL, NOTHING, Box
from seccompgen.lint.rule import FilterView, Finding, Findings, LintRule, Severity


class _Negative(NamedTuple):
    """A negative number that means something else than an error."""

    value: int
    meaning: str


_CURRENT = _Negative(-100, "AT_FDCWD, the current directory")
_BY_CALL = {
    ("kill", "pid"): _Negative(-1, "-1, every process"),
    ("setpriority", "niceval"): _Negative(-20, "-20, the highest priority"),
    ("nice", "increment"): _Negative(-20, "-20, the highest priority"),
}
_DIRECTORIES = {"dfd", "olddfd", "newdfd", "from_dfd", "to_dfd"}
"""Names of arguments that are descriptors of directories."""
_MOST = 0x7FFFFFFF


def _check(view: FilterView) -> Findings:
    for name, answer in view.conditional():
        prototype = view.prototype(name)
        for n, one in enumerate(prototype.parameters if prototype else ()):
            negative = _BY_CALL.get((name, one.name))
            if one.name in _DIRECTORIES:
                negative = _CURRENT
            if negative is None or one.bits != 32:
                continue
            for box in answer.permitted:
                least = _ordered(box[n], view)
                smaller = least and _refused(box, n, least, answer.refused, view)
                if smaller:
                    yield _finding(name, n, negative, least, box, smaller, view)
                    break


def _ordered(values: int, view: FilterView) -> int:
    """Return the positive number from which on all are in ``values``, negative ones too, or 0."""
    if values == ALL:
        return 0
    sets, plain = view.sets, view.plain_values(32)
    small = sets.both(values, sets.masked(U64 ^ _MOST, 0))
    if small == NOTHING:
        return 0
    least = sets.least(small)
    from_there = sets.above(U32, least - 1) if least else ALL
    same = sets.both(values, plain) == sets.both(from_there, plain)
    return least if same else 0


def _refused(
    box: Box, n: int, least: int, refused: tuple[Box, ...], view: FilterView
) -> Box | None:
    """Return a call that is refused for a number below ``least`` alone."""
    sets = view.sets
    below = sets.masked(U64, least - 1)
    for other in refused:
        both = tuple(
            sets.both(theirs, below if m == n else ours)
            for m, (ours, theirs) in enumerate(zip(box, other, strict=True))
        )
        if NOTHING not in both:
            return both  # type: ignore[return-value] # six
    return None


def _finding(
    name: str, n: int, negative: _Negative, least: int, box: Box, smaller: Box, view: FilterView
) -> Finding:
    prototype = view.prototype(name)
    assert prototype is not None
    argument = prototype.parameters[n].name
    sets = view.sets
    whole = sets.both(box[n], sets.masked(U32, negative.value & U32))
    return RULE.finding(
        f"the kernel reads argument {n} of {name} ({argument}) as signed, the filter compares it "
        f"unsigned: it permits {least} and more, and so {negative.meaning}",
        f"write i32({argument}) >= {least}, or refuse what is above {_MOST:#x}",
        view=view,
        witness=view.shown(name, (*box[:n], whole, *box[n + 1 :])),
        beside=view.shown(name, smaller),
    )


RULE = LintRule("signed-order", Severity.WARNING, _check)
