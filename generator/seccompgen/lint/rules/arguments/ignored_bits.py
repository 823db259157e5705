"""A comparison looks at bits that the kernel ignores.

The kernel reads the argument as 32 bits, the filter compares 64: `syslog(1 << 32 | 5)` is another
call to the filter, but the same call to the kernel. TIOCSTI got past flatpak (CVE-2019-10063) and
snapd (CVE-2019-7303) this way. It is an error if a refused call gets through, and a note if an
allowlist refuses one of the two forms of a negative number. Write `width: 32`, or no width.

```diff
 - action: errno
   names_with_args:
-  - {name: syslog, arguments: [{argument: 0, operation: Equal, value: 5, width: 64}]}
+  - {name: syslog, arguments: [{argument: 0, operation: Equal, value: 5, width: 32}]}
```
"""

from seccompgen.core.model import U64
from seccompgen.core.sets import BITS, NOTHING, Box, Sets
from seccompgen.lint.compared import (
    ComparedArgument,
    compared_arguments,
    others_in_both,
    with_argument,
)
from seccompgen.lint.rule import FilterView, Findings, LintRule, Severity


def _check(view: FilterView) -> Findings:
    for one in compared_arguments(view):
        bits = one.parameter.bits if one.parameter and not one.is_address else None
        if bits is not None and bits < view.abi.argument_bits:
            yield from _of_argument(one, bits)


def _of_argument(one: ComparedArgument, bits: int) -> Findings:
    """Yield two calls that are the same to the kernel: one is permitted, the other is not.

    It is a hole if programs make the refused one. In an allowlist a negative number is no hole: it
    may be refused in its form of 64 bits, and permitted in the other, so some programs fail.
    """
    sets, n = one.view.sets, one.n
    level = BITS - bits
    if all(sets.nodes[box[n]][0] >= level for box, _ in one.answer.parts):
        return
    usual = values = one.view.plain_values(bits)
    if one.view.is_allowlist:
        usual = sets.masked(U64 >> bits << bits, 0)
    ignored = f"the kernel reads {bits} bits of {one}, the filter compares more"
    fix = f"write width: {bits}" if bits == 32 else f"compare under a mask of {bits} bits"
    harmless: tuple[Box, Box] | None = None
    for permitted in one.answer.permitted:
        for refused in one.answer.refused:
            both = others_in_both(sets, permitted, refused, n)
            if NOTHING in both:
                continue
            for is_hole, plain, their in (
                (True, usual, permitted[n]),
                (False, values, sets.both(permitted[n], values)),
            ):
                own = sets.both(refused[n], plain)
                low = sets.both(_low(sets, own, bits), _low(sets, their, bits))
                if low == NOTHING:
                    continue
                same = sets.masked((1 << bits) - 1, sets.least(low) & ((1 << bits) - 1))
                pair = (
                    with_argument(both, n, sets.both(their, same)),
                    with_argument(both, n, sets.both(own, same)),
                )
                if is_hole:
                    text = f"{ignored}: a caller who sets a high bit gets past it"
                    yield one.finding(RULE, text, fix, Severity.ERROR, pair)
                    return
                harmless = harmless or pair
    if harmless:
        text = f"{ignored}: it refuses a permitted call if the high bits differ"
        yield one.finding(RULE, text, fix, Severity.NOTE, harmless)


def _low(sets: Sets, values: int, bits: int) -> int:
    """Return the values whose low ``bits`` some member of ``values`` has."""
    level = BITS - bits
    known: dict[int, int] = {}

    def below(node: int) -> int:
        own, zero, one = sets.nodes[node]
        if own >= level:
            return node
        if node not in known:
            known[node] = sets.either(below(zero), below(one))
        return known[node]

    return below(values)


RULE = LintRule("ignored-bits", Severity.ERROR, _check)
