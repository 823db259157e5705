"""The cost of a program, and the least that any program for the same policy could cost.

The bounds hold for programs of the kind that every compiler in this field makes: loads, masks,
comparisons with constants and constant answers. Such a program first settles the architecture, if
that can change anything; then, by the number, the call's function of the arguments; then that
function's answer. A test serves one word. The argument:

- Different functions begin at different places. A tree with F different ends has at least F - 1
  tests, however nodes are shared. With the load that is F instructions, or none if F is 1.
- A function that is not constant begins with a load and a test of its own. An argument word that
  alone can change the answer to a call must be loaded and tested before that call is answered.
- Path lengths obey Kraft's inequality, so the mean number of tests on the way to a function is at
  least that of Huffman's tree, and the longest path no shorter than the sum over functions of
  2 ** (instructions that it needs) allows.

Functions count as different if they answer any of a few dozen calls differently; equal functions
never do. The bounds are weak where sets of numbers or values need many tests on one word: they
count one test for each word of a function, and assume that a few bit tests may divide the number
line.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.core.model import U32, U64
from seccompgen.core.program import (
    ALU_AND_K,
    ARCH_OFFSET,
    JMP_JA,
    JMP_JEQ_K,
    JMP_JGE_K,
    JMP_JGT_K,
    JMP_JSET_K,
    LD_W_ABS,
    NR_OFFSET,
    RET_K,
    SECCOMP_DATA,
    Cost,
    word_offset,
)
from seccompgen.core.sets import ALL
from seccompgen.core.word import argument_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from seccompgen.compile.functions import ArgumentFunction
    from seccompgen.compile.lower import NumberLine, NumberRange
    from seccompgen.compile.weights import Samples
    from seccompgen.compile.word_search import Sample
    from seccompgen.core.abis import Abi
    from seccompgen.core.program import ContextLayout, Instruction
    from seccompgen.core.sets import Sets

_Args: TypeAlias = tuple[int, ...]

_MOST_CALLS = 64
_MOST_ASKED = 100_000
"""The most evaluations of a rule on a call, to tell functions apart."""
_MOST_WORDS = 1024
"""The most rules, times calls, for which each word is checked for its effect."""
_FLIPPED = (1, U32, 1 << 31)
"""The bits that are flipped in a word to see whether it matters."""
_MOST_NUMBERS = 64
"""Longer spans are represented by their first number."""
_MOST_EXECUTED = 40_000_000
"""The most instructions, times samples, for which each sample is executed, rather than some."""
_ANSWER = 1
_WORD = 2
"""Instructions: an answer; a load and a test."""


class WeightedLine(NamedTuple):
    """A number line, the assumed frequency of each span, and sample arguments of its calls."""

    line: NumberLine
    weights: Sequence[int]
    samples: Sequence[Samples]


def cost(instructions: Sequence[Instruction], lines: Sequence[WeightedLine], abi: Abi) -> Cost:
    """Return the cost of a program for ``abi``; the mean is over the calls of the first line."""
    total, weight = 0.0, 0
    main = lines[0]
    for span, share, (_, samples) in zip(main.line.spans, main.weights, main.samples, strict=True):
        numbers = range(span.first, span.last + 1)
        ways: list[tuple[int, int]] = []
        for args, times in _executable(samples, instructions) or [((0,) * 6, 1)]:
            words = words_of(args, abi)
            words[ARCH_OFFSET] = main.line.audit_arch
            for nr in numbers if len(numbers) <= _MOST_NUMBERS else numbers[:1]:
                words[NR_OFFSET] = nr
                ways.append((executed(instructions, words), times))
        total += share * sum(n * times for n, times in ways) / sum(times for _, times in ways)
        weight += share
    return Cost(len(instructions), longest_path(instructions), total / weight)


def _executable(samples: list[Sample], instructions: Sequence[Instruction]) -> list[Sample]:
    # Thousands of samples in tens of thousands of instructions would take minutes. In programs that
    # kernels load, of 4,096 at most, up to 9,700 samples of a call are all executed.
    return samples[:: 1 + len(samples) * len(instructions) // _MOST_EXECUTED]


def words_of(args: Sequence[int], abi: Abi, layout: ContextLayout = SECCOMP_DATA) -> dict[int, int]:
    """Return the words of six arguments by their offset in the structure of ``layout``."""
    return {
        word_offset(word, abi, layout): word.of(arg)
        for n, arg in enumerate(args)
        for word in argument_words(n)
    }


def executed(instructions: Sequence[Instruction], words: Mapping[int, int]) -> int:
    """Return the number of instructions executed for a call; ``words`` are its words by offset."""
    at, accumulator, count = 0, 0, 0
    while True:
        one = instructions[at]
        at, count = at + 1, count + 1
        if one.code == RET_K:
            return count
        if one.code == LD_W_ABS:
            accumulator = words[one.k]
        elif one.code == ALU_AND_K:
            accumulator &= one.k
        elif one.code == JMP_JA:
            at += one.k
        else:
            at += one.jt if _HOLDS[one.code](accumulator, one.k) else one.jf


_HOLDS: dict[int, Callable[[int, int], bool]] = {
    JMP_JEQ_K: lambda a, k: a == k,
    JMP_JGT_K: lambda a, k: a > k,
    JMP_JGE_K: lambda a, k: a >= k,
    JMP_JSET_K: lambda a, k: a & k != 0,
}


def longest_path(instructions: Sequence[Instruction]) -> int:
    """Return the length of the longest path through the program, whether a call takes it or not."""
    length: list[int] = [0] * len(instructions)
    for at in reversed(range(len(instructions))):
        one = instructions[at]
        if one.code in _HOLDS:
            offsets = [one.jt, one.jf]
        else:
            offsets = [one.k if one.code == JMP_JA else 0] if one.code != RET_K else []
        length[at] = 1 + max((length[at + 1 + offset] for offset in offsets), default=0)
    return length[0]


def bound(lines: Sequence[WeightedLine], bad_arch: int, sets: Sets) -> Cost:
    """Return a lower bound for programs for ``lines``; ``bad_arch`` answers other audit values."""
    known = _Functions(sets, lines)
    meanings = {tuple(known.meaning(one.line)) for one in lines} | {
        ((0, known.constant(bad_arch)),)
    }
    classes = [{of for _, of in meaning} for meaning in meanings]
    looking = {of for each in classes for of in each if len(set(of)) > 1}
    answers = {answer for each in classes for of in each for answer in of}
    arch = len(meanings) if len(meanings) > 1 else 0
    most = max(map(len, classes))
    number = most if most > 1 else 0
    length = arch + number + _WORD * len(looking) + len(answers)

    main = lines[0]
    weights: dict[_Class, int] = {}
    deepest: dict[_Class, int] = {}
    inside = 0.0
    for span, weight, (_, samples) in zip(main.line.spans, main.weights, main.samples, strict=True):
        which = known.of(span)
        weights[which] = weights.get(which, 0) + weight
        need = known.needs(span, samples)
        deepest[which] = max([deepest.get(which, 0), *need])
        times = [times for _, times in samples] or [1]
        inside += weight * sum(map(int.__mul__, need, times)) / sum(times)
    total = sum(weights.values())
    before = (2 if arch else 0) + (1 if len(weights) > 1 else 0)
    expected = before + (_huffman(list(weights.values())) + inside) / total + _ANSWER
    longest = before + _kraft(list(deepest.values())) + _ANSWER
    return Cost(length, longest, expected)


_Class: TypeAlias = tuple[int, ...]
"""The answers of a function to each sample call."""


class _Functions:
    """The functions of a program, told apart by their answers to sample calls."""

    def __init__(self, sets: Sets, lines: Sequence[WeightedLine]) -> None:
        self._sets = sets
        self._known: dict[ArgumentFunction, _Class] = {}
        self._rules: dict[ArgumentFunction, list[tuple[list[tuple[int, int]], int]]] = {}
        self._held: dict[tuple[int, int], bool] = {}
        functions = {span.answer.function for one in lines for span in one.line.spans}
        seen = dict.fromkeys(
            args for one in lines for samples in one.samples for args, _ in samples.several
        )
        rules = sum(len(function.rules) for function in functions)
        most = max(min(_MOST_CALLS, _MOST_ASKED // max(rules, 1)), 1)
        step = max(len(seen) // most, 1)
        self._calls: list[_Args] = [(0,) * 6, (U64,) * 6, *list(seen)[::step][:most]]

    def of(self, span: NumberRange) -> _Class:
        function = span.answer.function
        found = self._known.get(function)
        if found is None:
            found = tuple(self._answer(function, args) for args in self._calls)
            self._known[function] = found
        return found

    def constant(self, answer: int) -> _Class:
        return (answer,) * len(self._calls)

    def meaning(self, line: NumberLine) -> Iterator[tuple[int, _Class]]:
        """Yield the first number of each run of numbers of one class, and the class."""
        before: _Class = ()
        for span in line.spans:
            of = self.of(span)
            if of != before:
                yield span.first, of
            before = of

    def _answer(self, function: ArgumentFunction, args: _Args) -> int:
        for parts, ret in self._tested(function):
            for n, part in parts:
                if not self._has(part, args[n]):
                    break
            else:
                return ret
        return function.default

    def _tested(self, function: ArgumentFunction) -> list[tuple[list[tuple[int, int]], int]]:
        """Return for each rule its tests (argument, set that it must be in) and its answer."""
        rules = self._rules.get(function)
        if rules is None:
            rules = self._rules[function] = [
                ([(n, part) for n, part in enumerate(box) if part != ALL], ret)
                for box, ret in function.rules
            ]
        return rules

    def _has(self, part: int, value: int) -> bool:
        """Return True if ``value`` is in ``part``; cached, since samples have much in common."""
        key = (part, value)
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = self._sets.has(part, value)
        return held

    def needs(self, span: NumberRange, samples: Sequence[Sample]) -> list[int]:
        """Return the least instructions that each of ``samples`` needs once the number is known."""
        function = span.answer.function
        if len(set(self.of(span))) == 1:
            return [0] * max(len(samples), 1)
        if len(function.rules) * len(samples) > _MOST_WORDS:
            return [_WORD] * len(samples)
        return [_WORD * max(self._words_that_matter(function, args), 1) for args, _ in samples]

    def _words_that_matter(self, function: ArgumentFunction, args: _Args) -> int:
        """Return how many words of ``args`` can each change the answer alone.

        Only a few values are tried: a word that is missed makes the bound lower, never wrong.
        """
        tested = self._tested(function)
        failing = [{n for n, part in parts if not self._has(part, args[n])} for parts, _ in tested]
        held = (ret for (_, ret), failed in zip(tested, failing, strict=True) if not failed)
        answer = next(held, function.default)
        count = 0
        for n in {n for parts, _ in tested for n, _ in parts}:
            # The only rules that can hold for some value of this argument.
            near = [
                (box[n], ret)
                for (box, ret), failed in zip(function.rules, failing, strict=True)
                if failed <= {n}
            ]
            for shift in (0, 32):
                for flipped in _FLIPPED:
                    other = args[n] ^ flipped << shift
                    hold = (ret for part, ret in near if part == ALL or self._has(part, other))
                    if next(hold, function.default) != answer:
                        count += 1
                        break
        return count


def _huffman(weights: list[int]) -> int:
    """Return the least sum of weight times depth of any binary tree whose ends have ``weights``."""
    heapify(weights)
    total = 0
    while len(weights) > 1:
        lightest = heappop(weights)
        both = lightest + heapreplace(weights, lightest + weights[0])
        total += both
    return total


def _kraft(lengths: list[int]) -> int:
    """Return the least depth of a binary tree that has paths of ``lengths`` behind its ends."""
    return (sum(1 << length for length in lengths) - 1).bit_length()
