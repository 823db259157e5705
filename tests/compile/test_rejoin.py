"""The last pass of the compiler: it saves instructions, and no call notices."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import interpreter
import pytest
from corpus import ours, translated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from longer import long_but
from seccompgen.compile import Answer, ArgumentFunction, NumberRange
from seccompgen.compile.assemble import assemble
from seccompgen.compile.diagram import CompareOp, Diagram, LoadedWord
from seccompgen.compile.rejoin import Frequencies, rejoined
from seccompgen.core.errors import Position
from seccompgen.core.model import Origin
from seccompgen.core.objective import Objective, Optimize
from strategies import programs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HERE = [Origin("a rule", Position("policy.yml", 1, 1))]
ARCH = LoadedWord(interpreter.ARCH)
NR, LOW, HIGH = (
    LoadedWord(interpreter.NR),
    LoadedWord(interpreter.ARGS),
    LoadedWord(interpreter.ARGS + 4),
)
OURS, OTHER = 0xC000003E, 0x40000003
ALLOW, ERRNO, KILL = interpreter.RET_ALLOW, 0x00050001, 0
U32 = 0xFFFFFFFF
NUMBERS = range(128)

EQ, GE, BITS = CompareOp.EQ, CompareOp.GE, CompareOp.ANY_BITS
Test: TypeAlias = "tuple[CompareOp, int, Tree, Tree]"
Tree: TypeAlias = "int | Test | Look"
"""An answer, or a test with what follows where it holds and where it fails."""


class Look(NamedTuple):
    """A tree on another word."""

    word: LoadedWord
    tree: Tree


LOOK = Look(LOW, (EQ, 5, ALLOW, ERRNO))


def frequencies(often: dict[int, int]) -> Frequencies:
    """Return frequencies where numbers come so ``often``, others once; those above 127 together."""
    nothing = Answer(ArgumentFunction((), KILL), (), ())
    spans = [NumberRange(nr, nr, nothing, ()) for nr in NUMBERS] + [
        NumberRange(128, U32, nothing, ())
    ]
    return Frequencies(spans, [often.get(nr, 1) for nr in (*NUMBERS, 128)])


@dataclass
class Drawn:
    """The diagram of trees on the number, one for each audit value, and how often these come."""

    trees: Sequence[Tree]
    often: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph = Diagram()
        self.roots = [self._node(tree, NR) for tree in self.trees]

    def _node(self, tree: Tree, word: LoadedWord) -> int:
        if isinstance(tree, int):
            return self.graph.leaf(tree, HERE)
        if isinstance(tree, Look):
            return self._node(tree.tree, tree.word)
        relation, k, true, false = tree
        branches = self._node(true, word), self._node(false, word)
        return self.graph.test(word, relation, k, *branches, HERE)

    def before(self) -> bytes:
        return self._code(self.roots)

    def after(self, price: float | None) -> bytes:
        each = [frequencies(self.often)] * len(self.roots)
        return self._code(rejoined(self.graph, self.roots, each, price))

    def _code(self, roots: Sequence[int]) -> bytes:
        """Return the program: the first root for one audit value, the last for all others."""
        root = roots[-1]
        if len(roots) > 1:
            root = self.graph.test(ARCH, EQ, OURS, roots[0], root, HERE)
        instructions, origins = assemble(self.graph, root)
        assert all(origins)
        code = interpreter.assemble([(i.code, i.jt, i.jf, i.k) for i in instructions], "little")
        interpreter.check(code, "little")
        return code


def run(code: bytes, nr: int, argument: int = 0, arch: int = OURS) -> interpreter.Result:
    return interpreter.run(code, interpreter.seccomp_data(nr, arch, [argument]), "little")


def assert_same_answers(before: bytes, after: bytes, arguments: Iterable[int] = (0, 5)) -> None:
    arguments = tuple(arguments)
    for arch in (OURS, OTHER):
        for nr in (*NUMBERS, 1 << 30, U32):
            for argument in arguments:
                call = nr, argument, arch
                assert run(before, *call).value == run(after, *call).value, call
            cached = [
                interpreter.constant_allow(code, nr, arch, "little") for code in (before, after)
            ]
            assert cached[0] == cached[1], (nr, arch)


def longest(code: bytes) -> int:
    """Return the length of the longest way through the code, whether a call takes it or not."""
    instructions = interpreter.decode(code, "little")
    left = [1] * len(instructions)
    for at in reversed(range(len(instructions))):
        one = instructions[at]
        if one.code in interpreter.CONDITIONAL_JUMPS:
            left[at] += max(left[at + 1 + one.jt], left[at + 1 + one.jf])
        elif one.code & 7 != interpreter.RET:
            left[at] += left[at + 1]
    return left[0]


def saved(
    *trees: Tree,
    price: float | None = None,
    often: dict[int, int] | None = None,
    arguments: Iterable[int] = (0, 5),
) -> int:
    """Return the instructions that are saved, having compared what both programs do."""
    diagram = Drawn(trees, often or {})
    before, after = diagram.before(), diagram.after(price)
    assert_same_answers(before, after, arguments)
    assert longest(after) <= longest(before)
    return (len(before) - len(after)) // 8


# --- places whose shortest programs are known --------------------------------------------------


def apart(first: Tree, second: Tree) -> Tree:
    """Lead 64 to 71 to ``first`` and 32 to 39 to ``second``."""
    lower: Tree = (GE, 40, ERRNO, (GE, 32, second, ERRNO))
    return (GE, 64, (GE, 72, ERRNO, first), lower)


# Each place alone has as few tests as possible: one for each of its ends but one, and one more
# where no single test tells two ends apart. No test of the one place is right for the other as
# it stands, so both together are best with one less.
REJOIN: dict[str, tuple[Tree, Tree]] = {
    "single tests": ((GE, 68, ALLOW, KILL), (GE, 36, ALLOW, KILL)),
    "a number taken first": (
        (EQ, 64, ALLOW, (GE, 68, ALLOW, KILL)),
        (GE, 36, (EQ, 39, KILL, ALLOW), KILL),
    ),
    "bits taken first": ((BITS, 1, ALLOW, (GE, 68, ALLOW, KILL)), (GE, 36, ALLOW, KILL)),
    "an end taken first": (
        (EQ, 64, KILL, (GE, 68, ERRNO, ALLOW)),
        (EQ, 32, KILL, ALLOW),
    ),
    "the end of the tree first": ((GE, 68, LOOK, KILL), (GE, 36, (EQ, 39, KILL, LOOK), KILL)),
}


@pytest.mark.parametrize("which", REJOIN)
def test_two_places_go_on_in_one_test(which: str) -> None:
    assert saved(apart(*REJOIN[which])) == 1


def test_as_many_places_as_there_are() -> None:
    tree: Tree = ERRNO
    starts = range(112, 0, -32)
    for start in starts:
        place: Tree = (GE, start + 4, ALLOW, KILL)
        tree = (GE, start + 8, tree, (GE, start, place, ERRNO))
    assert saved(tree) == len(starts) - 1


def test_opposite_answers_stay_apart() -> None:
    assert saved(apart((GE, 68, ALLOW, KILL), (GE, 36, KILL, ALLOW))) == 0


def test_places_on_different_words_stay_apart() -> None:
    number, argument = REJOIN["single tests"]
    tree = apart(number, Look(LOW, apart(ERRNO, argument)))
    assert saved(tree, arguments=range(30, 80)) == 0


def test_places_on_arguments_rejoin_too() -> None:
    tree = Look(LOW, apart(*REJOIN["a number taken first"]))
    assert saved((EQ, 3, tree, ERRNO), arguments=range(30, 80)) == 1
    assert saved(tree, arguments=range(30, 80)) == 1


def test_numbers_say_nothing_of_arguments() -> None:
    """The tests of "single tests", on a word that can have any value at both places."""
    first, second = REJOIN["single tests"]
    tree = apart(Look(LOW, first), Look(LOW, second))
    assert saved(tree, arguments=range(30, 80)) == 0


@pytest.mark.parametrize("elsewhere", [4, 96])
def test_what_comes_from_elsewhere_counts(elsewhere: int) -> None:
    """One of the two tests is entered with other numbers too, for which the other is not right."""
    first, second = REJOIN["single tests"]
    assert saved((EQ, elsewhere, second, apart(first, second))) == 0
    assert saved((EQ, elsewhere, first, apart(first, second))) == 0


def test_no_end_that_goes_on_is_moved_away() -> None:
    """As "an end taken first", but behind that end there is more to do."""
    first: Tree = (EQ, 64, LOOK, (GE, 68, ERRNO, ALLOW))
    assert saved(apart(first, (EQ, 32, LOOK, ALLOW))) == 0


def test_what_is_slower_has_its_price() -> None:
    """The list takes 39 first, where the tree takes 32 to 35."""
    tree = apart(*REJOIN["a number taken first"])
    assert [saved(tree, price=price) for price in (0, 2, 3, None)] == [0, 0, 1, 1]
    assert [saved(tree, price=0, often={39: often}) for often in (3, 4)] == [0, 1]


def test_two_places_that_become_slower_pay_together() -> None:
    """Each needs a list that takes its last number first, where the tree takes four."""
    first: Tree = (GE, 68, (EQ, 71, KILL, ALLOW), KILL)
    second: Tree = (GE, 36, (EQ, 39, KILL, ALLOW), KILL)
    assert [saved(apart(first, second), price=price) for price in (3, 5, 6)] == [0, 0, 1]


def test_arguments_are_not_weighed_as_numbers() -> None:
    """So where executed instructions have a price, arguments are taken off as in the tree."""
    tree = Look(LOW, apart(*REJOIN["a number taken first"]))
    assert saved(tree, price=1000, arguments=range(30, 80)) == 0


def test_numbers_of_one_audit_value_do_not_pay_for_another() -> None:
    """The tree is best for the second, where 39 never comes, however often it comes elsewhere."""
    first, second = REJOIN["a number taken first"]
    often = {39: 60} | dict.fromkeys(range(32, 36), 10)
    trees = apart(first, second), (GE, 36, ERRNO, (GE, 32, second, ERRNO))
    assert saved(*trees, price=0, often=often) == 0


# --- any diagram -------------------------------------------------------------------------------

bounded = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
ARGUMENTS = (0, 4, 17, 5 << 32 | 9)


def random_tree(rng: random.Random, first: int, last: int, looks: Sequence[Tree]) -> Tree:
    """Return a tree for the numbers from ``first`` to ``last``."""
    if first == last or rng.random() < 0.05:
        return rng.choice([ALLOW, KILL, ALLOW, KILL, ERRNO, *looks])
    relation = rng.choice([GE, GE, EQ, EQ, BITS])
    if relation is EQ:
        return (
            EQ,
            rng.randint(first, last),
            rng.choice([ALLOW, KILL]),
            tree_of(rng, first, last, looks),
        )
    if relation is GE:
        k = rng.randint(first + 1, last)
        return (GE, k, tree_of(rng, k, last, looks), tree_of(rng, first, k - 1, looks))
    mask = rng.choice([1, 2, 4, 8, 5, 10])
    return (BITS, mask, tree_of(rng, first, last, looks), tree_of(rng, first, last, looks))


def tree_of(rng: random.Random, first: int, last: int, looks: Sequence[Tree]) -> Tree:
    """Return a tree for some numbers, small for few of them."""
    if rng.random() < 8 / (last - first + 8) * 0.6:
        return rng.choice([ALLOW, KILL])
    return random_tree(rng, first, last, looks)


def random_diagram(rng: random.Random) -> Drawn:
    """Return a diagram of two audit values that share some of what they do with arguments."""
    high = Look(HIGH, random_tree(rng, 0, 7, ()))
    looks = [Look(LOW, random_tree(rng, 0, 31, [high])) for _ in range(2)]
    trees: list[Tree] = [(GE, 128, ERRNO, random_tree(rng, 0, 127, looks)) for _ in range(2)]
    return Drawn(trees, {nr: rng.choice([1, 1, 1, 2, 9, 40]) for nr in NUMBERS})


@pytest.mark.long("compiles many programs")
@bounded
@given(st.randoms(use_true_random=False), st.sampled_from([0, 2, 10, None]))
def test_any_diagram_stays_what_it_is(rng: random.Random, price: float | None) -> None:
    diagram = random_diagram(rng)
    before, after = diagram.before(), diagram.after(price)
    assert len(after) <= len(before)
    if len(before) // 8 < 255:  # no jump needs another that leads it further
        assert longest(after) <= longest(before)
    assert_same_answers(before, after, ARGUMENTS)
    if price is not None:
        dearer = sum(
            diagram.often[nr]
            * (run(after, nr, 0, arch).executed - run(before, nr, 0, arch).executed)
            for arch in (OURS, OTHER)
            for nr in NUMBERS
        )
        assert dearer <= price * (len(before) - len(after)) // 8


@pytest.mark.long("compiles many programs")
def test_random_diagrams_have_places_that_rejoin() -> None:
    found = dict.fromkeys((0, None), 0)
    for seed in range(40):
        for price in found:
            diagram = random_diagram(random.Random(seed))
            found[price] += len(diagram.before()) - len(diagram.after(price))
    assert found[None] > found[0] > 20 * 8


# --- whole programs ----------------------------------------------------------------------------

POLICIES = ("container-default", "mail-server")
SAVED = 5
"""Instructions, of both together and for each goal; 7 when this was written."""


@cache
def policy(name: str) -> dict[str, object]:
    return translated(ours()[name])


@pytest.mark.long("compiles many policies")
@pytest.mark.parametrize("goal", long_but([Optimize.BALANCED], Optimize, "the other objectives"))
def test_realistic_programs_are_shorter(goal: Optimize, monkeypatch: pytest.MonkeyPatch) -> None:
    shorter = {name: programs(policy(name), Objective(goal))["x86_64"] for name in POLICIES}
    monkeypatch.setattr(sys.modules["seccompgen.compile"], "rejoined", lambda *given: given[1])
    trees = {name: programs(policy(name), Objective(goal))["x86_64"] for name in POLICIES}
    found = 0
    for name, tree in trees.items():
        new, old = shorter[name].cost, tree.cost
        found += old.length - new.length
        assert new.longest <= old.longest
        # This mean has the calls of the bitmap as well, which no goal counts in full.
        assert new.expected <= old.expected * 1.01
    assert found >= SAVED
