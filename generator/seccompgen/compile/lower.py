"""From a policy to number lines: the answers of each ABI's rules to every ``seccomp_data.nr``.

Here ABIs differ. A program sees the calls of every ABI of its kernel, and some
of them share an audit value or a dispatcher:

- x32 calls come under x86_64's audit value with bit 30 set. The call -1, which a tracer leaves
  in place of one that it skips, has that bit too and belongs to no ABI: it counts as an unknown
  number.
- On most 32-bit ABIs only the low words of arguments count (`architectures.HighWords`), so
  conditions are on these.
- A MIPS kernel finds the handler by number (o32 from 4000, n64 from 5000, n32 from 6000), while
  the audit value is the *task's*. A number of another MIPS ABI's table is therefore a call
  through that other ABI, and answered like one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from seccompgen.compile.functions import ORIGINAL, ArgumentFunction
from seccompgen.core.abis import X32_SYSCALL_BIT
from seccompgen.core.model import U32, ActionKind, Op, comparisons, condition_for
from seccompgen.core.reach import reach
from seccompgen.core.word import argument_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.compile.functions import Functions
    from seccompgen.core.abis import Abi
    from seccompgen.core.model import Origin, Predicate, ResolvedPolicy, Rule
    from seccompgen.core.sets import Box
    from seccompgen.core.tables import Table, Tables
    from seccompgen.core.word import Word

Origins: TypeAlias = "tuple[Origin, ...]"
Masks: TypeAlias = "Mapping[Word, tuple[tuple[int, int], ...]]"
"""The masks of each word, (mask, k) for ``word & mask == k``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision on a call: a function of its arguments, and the origins of its parts.

    ``cases`` are the rules that it is made of: the first whose condition holds answers. ``asked``
    has for each rule the arguments that match, whatever earlier rules take, and whether it allows;
    sample arguments come from there. ``masks`` are candidates for tests; no answer depends on them.
    """

    function: ArgumentFunction
    rule_origins: tuple[Origins, ...]
    default_origins: Origins
    cases: tuple[tuple[Predicate | None, int, Origin], ...] = ()
    asked: tuple[tuple[Box, bool], ...] = ()
    masks: Masks = field(default_factory=dict, compare=False)

    @property
    def origins(self) -> Origins:
        """All parts of the policy that the answer comes from."""
        return _each(o for part in (*self.rule_origins, self.default_origins) for o in part)


@dataclass(frozen=True, slots=True)
class NumberRange:
    """Numbers from ``first`` to ``last``, both included, that have one answer.

    ``calls`` are the names of the numbers that have one.
    """

    first: int
    last: int
    answer: Answer
    calls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NumberLine:
    """The spans of one audit value, without gap from 0 to 2**32 - 1."""

    audit_arch: int
    abis: tuple[Abi, ...]
    spans: tuple[NumberRange, ...]


def number_lines(
    policy: ResolvedPolicy, abi: Abi, tables: Tables, functions: Functions
) -> list[NumberLine]:
    """Return a line for each audit value that the program for ``abi`` answers, its own first."""
    served = (abi, *policy.compat_of(abi))
    lines = []
    for audit_arch in dict.fromkeys(other.audit_arch for other in served):
        here = tuple(other for other in served if other.audit_arch == audit_arch)
        spans = _LineBuilder(policy, tables, functions, here).spans()
        lines.append(NumberLine(audit_arch, here, spans))
    return lines


class _LineBuilder:
    """Builds the line of one audit value, which the ABIs ``here`` share."""

    def __init__(
        self, policy: ResolvedPolicy, tables: Tables, functions: Functions, here: tuple[Abi, ...]
    ) -> None:
        self._policy = policy
        self._tables = tables
        self._functions = functions
        self._here = {abi.name: abi for abi in here}
        self._main = here[0]
        unknown, bad_arch = policy.unknown_origin, policy.bad_arch_origin
        self._unknown = _constant(policy.unknown_action.ret(self._main), unknown)
        self._foreign = _constant(policy.bad_arch_action.ret(self._main), bad_arch)

    def spans(self) -> tuple[NumberRange, ...]:
        numbers: dict[int, tuple[Answer, str]] = {}
        for abi in reversed(self._here.values()):  # the first ABI's answers take precedence
            numbers.update(self._calls(self._tables.tables[abi.name]))
        result: list[NumberRange] = []
        for first, last, background in self._backgrounds():
            at = first
            for nr in sorted(n for n in numbers if first <= n <= last):
                if at < nr:
                    _append(result, NumberRange(at, nr - 1, background, ()))
                answer, call = numbers[nr]
                _append(result, NumberRange(nr, nr, answer, (call,)))
                at = nr + 1
            if at <= last:
                _append(result, NumberRange(at, last, background, ()))
        return tuple(result)

    def _calls(self, table: Table) -> Mapping[int, tuple[Answer, str]]:
        """Return the answer to each number that ``table`` or a rule names, and the call's name."""
        policy = self._policy
        default = policy.default_action.ret(table.abi), policy.default_origin
        unknown = policy.unknown_action.ret(self._main), policy.unknown_origin
        rules: dict[int, list[Rule]] = {}
        for rule in policy.rules:
            number = table.number_of(rule.name) if rule.applies_to(table.abi) else None
            if number is not None:
                rules.setdefault(number, []).append(rule)
        untouched = _constant(*default)
        answers = {nr: (untouched, name) for name, nr in table.numbers.items()}
        for nr, own in rules.items():
            rest = default if nr in table.names else unknown
            name = table.names.get(nr, own[0].name)
            answers[nr] = self._decide(tuple(own), *rest, table.abi), name
        return answers

    def _decide(
        self, rules: tuple[Rule, ...], default: int, default_origin: Origin, abi: Abi
    ) -> Answer:
        """Return the answer of ``rules`` to one call of ``abi``.

        If all reachable rules answer alike, the answer does not depend on the arguments, and the
        program must not look at them: the kernel then uses its bitmap (seccomp_is_const_allow
        in kernel/seccomp.c). If nothing is left for the default, the last rule needs no test.
        """
        bits = abi.argument_bits
        found = reach(rules, bits)
        sets = self._functions.sets
        conditions = [condition_for(rule.condition, bits) for rule in found.alive]
        asked = [
            (sets.box(condition), rule.action.kind is ActionKind.ALLOW)
            for condition, rule in zip(conditions, found.alive, strict=True)
        ]
        alive = list(found.alive)
        default_origins: Origins = (default_origin,)
        if not found.rest:
            last = alive.pop()
            default, default_origins = last.action.ret(abi), (last.origin,)
        cases = tuple(
            (condition, rule.action.ret(abi), rule.origin)
            for condition, rule in zip(conditions, alive, strict=False)
        )
        boxes = [(box, ret) for (box, _), (_, ret, _) in zip(asked, cases, strict=False)]
        derived = self._functions.derive(boxes, default)
        origins = [(rule.origin,) for rule in alive]
        return Answer(
            derived.function,
            tuple(_each(alive[i].origin for i in sources) for sources in derived.rules),
            _each(
                origin
                for i in derived.default
                for origin in (default_origins if i == ORIGINAL else origins[i])
            ),
            cases,
            tuple(asked),
            masks_of(condition for condition, _, _ in cases),
        )

    def _backgrounds(self) -> Iterable[tuple[int, int, Answer]]:
        """Yield ranges that cover all numbers, each with the answer to its unnamed numbers."""
        if self._main.audit_arch_name == "AUDIT_ARCH_X86_64":
            bit = X32_SYSCALL_BIT
            native = self._unknown if "x86_64" in self._here else self._foreign
            x32 = self._unknown if "x32" in self._here else self._foreign
            yield 0, bit - 1, native
            yield bit, 2 * bit - 1, x32
            yield 2 * bit, 3 * bit - 1, native
            yield 3 * bit, U32 - 1, x32
            yield U32, U32, self._unknown
            return
        at = 0
        for first, last in sorted(self._foreign_ranges()):
            yield at, first - 1, self._unknown
            yield first, last, self._foreign
            at = last + 1
        yield at, U32, self._unknown

    def _foreign_ranges(self) -> Iterable[tuple[int, int]]:
        for table in self._tables.dispatched_with(self._main):
            yield min(table.numbers.values()), max(table.numbers.values())


def _constant(ret: int, origin: Origin) -> Answer:
    return Answer(ArgumentFunction((), ret), (), (origin,))


def masks_of(conditions: Iterable[Predicate | None]) -> Masks:
    """Return the masks of ``conditions`` on each word."""
    found: dict[Word, dict[tuple[int, int], None]] = {}
    for condition in conditions:
        for test in comparisons(condition):
            match test.op:
                case Op.ANY_BITS | Op.NO_BITS:
                    mask, k = test.value, 0
                case Op.MASKED_EQ | Op.NE:
                    mask, k = test.mask, test.value
                case _:
                    continue
            for word in argument_words(test.argument):
                if word.of(mask) not in (0, U32):
                    found.setdefault(word, {})[word.of(mask), word.of(k)] = None
    return {word: tuple(masks) for word, masks in found.items()}


def _each(origins: Iterable[Origin]) -> Origins:
    return tuple(dict.fromkeys(origins))


def _append(spans: list[NumberRange], span: NumberRange) -> None:
    """Add ``span``, or lengthen the one before it if that has the same answer."""
    if not spans or spans[-1].answer.function != span.answer.function:
        spans.append(span)
        return
    before = spans[-1]
    a, b = before.answer, span.answer
    both = zip(a.rule_origins, b.rule_origins, strict=True)
    answer = replace(
        a,
        rule_origins=tuple(_each((*one, *other)) for one, other in both),
        default_origins=_each((*a.default_origins, *b.default_origins)),
    )
    spans[-1] = NumberRange(before.first, span.last, answer, before.calls + span.calls)
