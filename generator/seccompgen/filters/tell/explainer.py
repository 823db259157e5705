"""Explain a filter's answer to one call: the rule behind it, and the path through the program.

Answers are those of the policy's meaning, or of the program if there is no policy, followed exactly
for all values of the arguments that are not given. A policy is compiled only for the paths that are
shown.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.core.abis import ABIS, HighWords
from seccompgen.core.deciding import DecidingRule
from seccompgen.core.errors import InputError, Position, UndecidedError
from seccompgen.core.foreign import PLAIN_READING, Reading
from seccompgen.core.model import U32, U64, All
from seccompgen.core.problems import Problem
from seccompgen.core.program import JMP_JEQ_K, LD_W_ABS
from seccompgen.core.sets import ALL
from seccompgen.core.spelling import number
from seccompgen.core.value_conditions import alternatives, intervals, united
from seccompgen.core.word import ARCH, ARGS, INSTRUCTION_POINTER, NR
from seccompgen.filters.find.box_walk import ALL_CALLS, BoxWalk, with_field
from seccompgen.filters.find.loaded_filter import LoadedFilter, load_filter
from seccompgen.filters.find.locate import FilterForm, kind_of
from seccompgen.filters.find.module import read_banner
from seccompgen.filters.tell.decisive_rules import deciding_rule, with_conditions
from seccompgen.filters.tell.written_call import MOST_ARGUMENTS, call_on, parse_call, require_known
from seccompgen.formats import names_no_abi
from seccompgen.pipeline.build import PLAIN_OPTIONS, one_program
from seccompgen.render.explanation import (
    AnswerCase,
    ExplainedCall,
    ExplainedGroup,
    Explanation,
    ProgramRun,
    Step,
)
from seccompgen.render.listing import listing, ret_action
from seccompgen.verify import Code, Meaning
from seccompgen.verify.call import Call
from seccompgen.verify.followers import follower
from seccompgen.verify.kernel import constant_allow, has_bitmap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from seccompgen.core.abis import Abi
    from seccompgen.core.facts import Prototype
    from seccompgen.core.model import Origin
    from seccompgen.core.tables import Tables
    from seccompgen.filters.find.box_walk import CallBox
    from seccompgen.filters.tell.written_call import CallOnAbi, WrittenCall
    from seccompgen.pipeline.build import BuildOptions
    from seccompgen.render.listing import ListingLine
    from seccompgen.verify.followers import Follower, Question

_MOST_RUNS = 40
_CALLER = "the caller's address"
_POINTER_OFFSETS = {8, 12}
"""Offsets of the instruction pointer in struct seccomp_data."""


class CallWay(NamedTuple):
    """A route into a filter: the ABI of the program, and the ABI through which calls are made."""

    program: Abi
    through: Abi


@dataclass(frozen=True)
class _AnswerPart:
    """Calls with one answer by one rule: boxes of the arguments that were left out."""

    ret: int
    rule: DecidingRule
    boxes: tuple[CallBox, ...]
    example: Call


class _Program(NamedTuple):
    """A program, with what is shown of its instructions."""

    code: Code
    lines: tuple[ListingLine, ...]
    origins: tuple[tuple[Origin, ...], ...]


class Explainer:
    """A filter that answers questions about calls.

    ``asked`` are the ABIs through which calls are made; by default all that it answers for. Raises
    InputError if ``path`` holds no filter, or none that answers for one of ``asked``.
    """

    def __init__(
        self,
        path: Path,
        tables: Tables,
        asked: Sequence[Abi] = (),
        reading: Reading = PLAIN_READING,
        options: BuildOptions = PLAIN_OPTIONS,
    ) -> None:
        self.tables = tables
        self.loaded = _loaded(path, tables, asked, reading)
        self._options = options
        self.ways = tuple(self._ways(asked))
        self._program = lru_cache(maxsize=64)(self._made_program)
        self._follower = lru_cache(maxsize=64)(self._made_follower)

    @property
    def chosen(self) -> LoadedFilter:
        """The filter, reduced to the programs that were asked for."""
        programs = {way.program.name for way in self.ways}
        sides = {name: side for name, side in self.loaded.sides.items() if name in programs}
        return replace(self.loaded, sides=sides)

    def explain(self, words: Sequence[str], *, every_run: bool = False) -> Explanation:
        """Return the answers to the call in ``words``: a name or a number, and arguments.

        If the answer depends on arguments that were left out, the paths are those of examples; they
        are included with ``every_run``. Raises InputError if no ABI understands the words.
        """
        written = parse_call(words, self.tables)
        throughs = list(dict.fromkeys(way.through for way in self.ways))
        require_known(written, self.tables, throughs)
        alike: dict[tuple[object, ...], list[tuple[CallWay, ExplainedCall]]] = defaultdict(list)
        lacks: dict[str, list[str]] = defaultdict(list)
        for way in self.ways:
            found = call_on(written, self.tables.tables[way.through.name], self.tables)
            if isinstance(found, str):
                lacks[found].append(way.through.name)
            else:
                one = self.call(way, found)
                alike[one.key].append((way, one))
        groups = [self._group(members, every_run=every_run) for members in alike.values()]
        return Explanation(
            str(self.loaded.path),
            self.tables.tag,
            tuple(groups),
            tuple((reason, tuple(abis)) for reason, abis in _merged(lacks, written).items()),
        )

    def call(self, way: CallWay, asked: CallOnAbi) -> ExplainedCall:
        """Return the answers to a call that comes by ``way``."""
        names = self._argument_names(way, asked)
        title = self._title(way, asked)
        remarks = asked.remarks
        unlisted = ""
        cases: tuple[AnswerCase, ...] = ()
        opened: tuple[str, ...] = ()
        try:
            parts, used = self._parts(way, asked)
            opened = tuple(names.get(field - ARGS, f"arg{field - ARGS}") for field in used)
            if len(parts) == 1:
                opened = tuple(name for n, name in names.items() if n not in asked.known)
                cases = (self._only(parts[0], way, asked),)
                remarks += tuple(self._unread(parts[0], way, asked))
            else:
                cases = self._cases(parts, way, asked)
            if INSTRUCTION_POINTER in used:
                opened = (*(one for one in opened if one != "arg-1"), _CALLER)
        except UndecidedError as error:
            unlisted = (
                f"it depends on arguments that were left out, too intricately: "
                f"{error.diagnostics[0].message}"
            )
            cases = ()
        program, through = way.program.name, way.through.name
        given = bool(asked.known)
        return ExplainedCall(
            through, program, title, asked.name, asked.nr, cases, opened, given, unlisted, remarks
        )

    # --- ways ----------------------------------------------------------------------------------

    def _ways(self, asked: Sequence[Abi]) -> Iterator[CallWay]:
        own = [CallWay(ABIS[name], ABIS[name]) for name in self.loaded.sides]
        every = [way for one in own for way in (one, *self._compat(one.program))]
        if not asked:
            yield from every
        for abi in asked:
            found = [way for way in every if way.through == abi] or [
                CallWay(way.program, abi) for way in own if abi.name in way.program.siblings
            ]
            if not found:
                names = ", ".join(way.through.name for way in every)
                text = f"{self.loaded.path}: no program answers for {abi.name}; there are {names}"
                raise InputError(text, kind=Problem.ABI_MISSING)
            yield from found

    def _compat(self, abi: Abi) -> list[CallWay]:
        """Return the routes of other ABIs that the program for ``abi`` answers for on purpose."""
        if self.loaded.policy:
            return [CallWay(abi, other) for other in self.loaded.policy.compat_of(abi)]
        code = self.loaded.sides[abi.name]
        compared = {one.k for one in getattr(code, "instructions", ()) if one.code == JMP_JEQ_K} - {
            abi.audit_arch
        }
        others = [ABIS[name] for name in abi.siblings if ABIS[name].audit_arch in compared]
        return [CallWay(abi, other) for other in others]

    def ways_through(self, abi: Abi) -> tuple[CallWay, ...]:
        """Return the routes of calls through ``abi``; none if no program can receive any."""
        own = [CallWay(ABIS[name], abi) for name in self.loaded.sides]
        others = (way for way in own if abi.name in way.program.siblings)
        return tuple(dict.fromkeys((*(w for w in self.ways if w.through == abi), *others)))

    # --- answers ---------------------------------------------------------------------------------

    def _made_follower(self, program: str) -> tuple[BoxWalk, Follower]:
        return BoxWalk(), follower(self.loaded.sides[program])

    def _parts(self, way: CallWay, asked: CallOnAbi) -> tuple[list[_AnswerPart], list[int]]:
        """Return the parts of a call by answer and rule, and the fields that divide them."""
        try:
            return self._followed(way, asked)
        except UndecidedError:
            alone = self._answered(way, asked)
            if alone is None:
                raise
            return [alone], []

    def _answered(self, way: CallWay, asked: CallOnAbi) -> _AnswerPart | None:
        """Return the answer to a call if all that the program looks at is known, else None."""
        code = self.loaded.sides[way.program.name]
        if len(asked.known) < MOST_ARGUMENTS or not isinstance(code, Code):
            return None
        if any(one.code == LD_W_ABS and one.k in _POINTER_OFFSETS for one in code.instructions):
            return None
        a, b, c, d, e, f = (asked.known[n] for n in range(MOST_ARGUMENTS))
        call = Call(asked.nr, way.through.audit_arch, (a, b, c, d, e, f))
        return _AnswerPart(code.answer(call), self._rule(way, call), (ALL_CALLS,), call)

    def _followed(self, way: CallWay, asked: CallOnAbi) -> tuple[list[_AnswerPart], list[int]]:
        walk, side = self._follower(way.program.name)
        sets = walk.sets
        box = with_field(ALL_CALLS, NR, sets.masked(U32, asked.nr))
        box = with_field(box, ARCH, sets.masked(U32, way.through.audit_arch))
        low_words = way.through.high_words is HighWords.ZERO
        for argument in range(MOST_ARGUMENTS):
            if argument in asked.known:
                values = sets.masked(U64, asked.known[argument])
                box = with_field(box, ARGS + argument, values)
            elif low_words:
                zero = sets.masked(U64 ^ U32, 0)
                box = with_field(box, ARGS + argument, zero)
        found: dict[tuple[int, DecidingRule], list[CallBox]] = defaultdict(list)
        examples: dict[tuple[int, DecidingRule], Call] = {}
        fixed = {NR: asked.nr, ARCH: way.through.audit_arch}
        fixed |= {ARGS + argument: value for argument, value in asked.known.items()}

        def known(question: Question) -> bool | None:
            word = question.word
            return question.holds(word.of(fixed[word.field])) if word.field in fixed else None

        for part, ret in walk.parts(side, box, known):
            example = walk.example(part)
            key = ret, self._rule(way, example)
            examples.setdefault(key, example)
            left = part
            for argument in range(MOST_ARGUMENTS):
                values = part[ARGS + argument]
                if argument in asked.known:
                    left = with_field(left, ARGS + argument, ALL)
                elif low_words:
                    left = with_field(left, ARGS + argument, walk.low_word(values))
            found[key].append(left)
        used = sorted(
            {
                field
                for boxes in found.values()
                for box in boxes
                for field in range(INSTRUCTION_POINTER, len(box))
                if box[field] != ALL
            }
        )
        parts = [
            _AnswerPart(ret, rule, tuple(boxes), examples[ret, rule])
            for (ret, rule), boxes in found.items()
        ]
        return parts, used

    def _rule(self, way: CallWay, call: Call) -> DecidingRule:
        side = self.loaded.sides[way.program.name]
        if isinstance(side, Meaning) and self.loaded.policy:
            return deciding_rule(self.loaded.policy, side, call, self.tables)
        assert isinstance(side, Code)
        at = side.run(call)[1][-1]
        return DecidingRule(f"instruction {at}{self._made_from}", Position(str(self.loaded.path)))

    @cached_property
    def _made_from(self) -> str:
        if self.loaded.module is None:
            return ""
        try:
            banner = read_banner(self.loaded.path)
        except InputError:
            return ""
        return f", made from {', '.join(name for name, _ in banner.policies or banner.parts)}"

    def _only(self, part: _AnswerPart, way: CallWay, asked: CallOnAbi) -> AnswerCase:
        rule = part.rule
        if self.loaded.policy:
            rule = with_conditions(rule, self.loaded.policy, part.example, self.tables)
        return self._case(replace(part, rule=rule), way, asked, "", otherwise=False)

    def _cases(
        self, parts: Sequence[_AnswerPart], way: CallWay, asked: CallOnAbi
    ) -> tuple[AnswerCase, ...]:
        """Return one case for each part; the last rule's, or the longest condition, comes last."""
        texts = [self._condition(one, way, asked) for one in parts]
        if texts.count(None) > 1:
            raise UndecidedError(
                "several conditions are too intricate", kind=Problem.TOO_MANY_CASES
            )
        side = self.loaded.sides[way.program.name]
        if None in texts:
            rest = texts.index(None)
        elif isinstance(side, Meaning):
            places = {id(case): n for n, case in enumerate(side.cases)}
            order = [places[id(side.case(one.example))] for one in parts]
            rest = order.index(max(order))
        else:
            lengths = [len(text or "") for text in texts]
            rest = lengths.index(max(lengths))
        cases = [
            self._case(part, way, asked, texts[n] or "", otherwise=n == rest)
            for n, part in enumerate(parts)
        ]
        return tuple(
            sorted(cases, key=lambda one: (one.otherwise, one.rule.position, one.condition))
        )

    def _condition(self, part: _AnswerPart, way: CallWay, asked: CallOnAbi) -> str | None:
        """Return the condition of a part, None if it is too intricate."""
        walk, _ = self._follower(way.program.name)
        sets = walk.sets
        texts: dict[str, list[All]] = {}
        try:
            for box in united(sets, (one[INSTRUCTION_POINTER:] for one in part.boxes)):
                pointers, *arguments = box
                address = ""
                if pointers != ALL:
                    spans = intervals(sets, pointers, 64)
                    address = " or ".join(f"{a:#x}-{b:#x}" for a, b in spans)
                tests = texts.setdefault(address, [])
                tests += [All(group) for group in alternatives(sets, arguments)]
        except UndecidedError:
            return None
        parts = []
        for address, tests in texts.items():
            text = self.tables.naming.alternatives(tests, asked.name, way.through)
            called = f"called from {address}" if address else ""
            parts.append(" and ".join(one for one in (text, called) if one))
        return " or ".join(parts)

    def _case(
        self, part: _AnswerPart, way: CallWay, asked: CallOnAbi, condition: str, *, otherwise: bool
    ) -> AnswerCase:
        call = part.example
        text = self._title(way, asked._replace(known=dict(enumerate(call.args))))
        action = ret_action(part.ret, way.through)
        return AnswerCase(action, part.ret, condition, otherwise, part.rule, call, text)

    def _unread(self, part: _AnswerPart, way: CallWay, asked: CallOnAbi) -> Iterator[str]:
        """Yield a remark if high bits that the kernel ignores change the answer."""
        if not asked.otherwise:
            return
        args = list(part.example.args)
        for argument, value in asked.otherwise.items():
            args[argument] = value
        a, b, c, d, e, f = args
        other = self.loaded.sides[way.program.name].answer(
            replace(part.example, args=(a, b, c, d, e, f))
        )
        if other != part.ret:
            values = ", ".join(f"{value:#x}" for value in asked.otherwise.values())
            yield (
                f"a program that passes {values} gets {ret_action(other, way.through)}: the filter "
                f"looks at bits that the kernel does not read"
            )

    # --- names -----------------------------------------------------------------------------------

    def _argument_names(self, way: CallWay, asked: CallOnAbi) -> dict[int, str]:
        """Return the arguments of a call; all six if its prototype is unknown."""
        prototype: Prototype | None = self.tables.facts.prototype(asked.name, way.through)
        count = len(prototype.parameters) if prototype else MOST_ARGUMENTS
        naming = self.tables.naming
        return {n: naming.argument(asked.name, n, way.through) for n in range(count)}

    def _title(self, way: CallWay, asked: CallOnAbi) -> str:
        """Return the call in C's notation; arguments that were left out appear by name."""
        prototype = self.tables.facts.prototype(asked.name, way.through)
        names = self._argument_names(way, asked) if prototype else {}
        args = [asked.known.get(n, 0) for n in range(MOST_ARGUMENTS)]
        last = len(names) if prototype else MOST_ARGUMENTS
        given = [n + 1 for n in asked.known if n < last or args[n]]
        shown = [
            self.tables.naming.value(asked.name, n, args, way.through)
            if n in asked.known
            else names.get(n, f"arg{n}")
            for n in range(max([len(names), *given]))
        ]
        if prototype is None and len(asked.known) < MOST_ARGUMENTS:
            shown.append("...")
        return f"{asked.name or f'nr {number(asked.nr)}'}({', '.join(shown)})"

    # --- programs --------------------------------------------------------------------------------

    def _group(
        self, members: Sequence[tuple[CallWay, ExplainedCall]], *, every_run: bool
    ) -> ExplainedGroup:
        way, first = members[0]
        shown = first.cases[:_MOST_RUNS] if every_run or len(first.cases) == 1 else ()
        return ExplainedGroup(
            tuple(one for _, one in members), tuple(self._run(way, case) for case in shown)
        )

    def _run(self, way: CallWay, case: AnswerCase) -> ProgramRun:
        code, lines, origins = self._program(way.program.name)
        ret, path = code.run(case.call)
        if ret != case.ret:
            text = f"{case.example}: policy and program differ; please report this"
            raise UndecidedError(text, kind=Problem.WRONG_PROGRAM)
        bitmap = None
        if has_bitmap(way.through):
            named = case.call.nr in self.tables.tables[way.through.name].names
            bitmap = named and constant_allow(code.instructions, case.call.nr, case.call.arch)
        steps = tuple(
            Step(
                at,
                lines[at].text,
                _taken(code, path, n),
                lines[at].head,
                origins[at] if origins else (),
            )
            for n, at in enumerate(path)
        )
        return ProgramRun(way.program.name, len(code.instructions), steps, bitmap)

    def _made_program(self, name: str) -> _Program:
        abi, side = ABIS[name], self.loaded.sides[name]
        origins: tuple[tuple[Origin, ...], ...] = ()
        if isinstance(side, Code):
            code = side
        else:
            assert self.loaded.policy
            made = one_program(self.loaded.policy, abi, self.tables, self._options)
            code, origins = Code(made.instructions, abi.byte_order), made.origins
        return _Program(code, listing(code.instructions, abi, self.tables, origins), origins)


def _taken(code: Code, path: Sequence[int], n: int) -> bool | None:
    """Return the outcome of the test at position ``n`` of a path, None if it is no test."""
    one = code.instructions[path[n]]
    if one.code & 0x07 != 0x05 or one.code & 0xF0 == 0:
        return None
    # If both branches are one, the outcome does not matter.
    return None if one.jt == one.jf else path[n + 1] == path[n] + 1 + one.jt


def _loaded(path: Path, tables: Tables, asked: Sequence[Abi], reading: Reading) -> LoadedFilter:
    """Return the filter; a file that names no ABI is read for those ``asked``."""
    if kind_of(path) is not FilterForm.RAW or not asked:
        loaded = load_filter(path, tables, None, reading)
        answered = {name for own in loaded.sides for name in (own, *ABIS[own].siblings)}
        strange = [abi for abi in asked if abi.name not in answered]
        if not strange or reading.abis or not loaded.policy or not names_no_abi(path, reading):
            return loaded
        every = (*loaded.sides, *(abi.name for abi in strange))
        return load_filter(path, tables, None, replace(reading, abis=every))
    try:
        return load_filter(path, tables, None, reading)
    except InputError:
        found = [load_filter(path, tables, abi, reading) for abi in asked]
    return replace(
        found[0], sides={name: side for one in found for name, side in one.sides.items()}
    )


def _merged(lacks: dict[str, list[str]], written: WrittenCall) -> dict[str, list[str]]:
    """Return why a call cannot be made, with one reason for all ABIs that lack the call."""
    found = dict(lacks)
    without = [reason for reason in found if reason.endswith(f" has no call {written.call}")]
    if len(without) > 1:
        abis = [abi for reason in without for abi in found.pop(reason)]
        names = ", ".join(abis)
        found[f"{names} have no call {written.call}"] = abis
    return found
