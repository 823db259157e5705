"""minijail's and seccompiler's files against models of their own compilers.

Neither compiler can be installed here. The models are written from the rules of their sources
(minijail's tools/parser.py, compiler.py and bpf.py; seccompiler's frontend/json.rs and backend/),
and share nothing with the readers: a random policy is a structure here, from which the text is
written and the answers are worked out.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import interpreter
import libseccomp
import pytest
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.core.problems import Problem
from seccompgen.formats import load_policy, translate
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.errors import Diagnostic
    from seccompgen.verify import Meaning

CALLS = ("read", "ioctl", "openat", "mprotect")
CONSTANTS = {"PROT_EXEC": 4, "AF_UNIX": 1, "O_CLOEXEC": 0o2000000, "AT_FDCWD": -100}
U64 = (1 << 64) - 1
ALLOW, LOG, TRACE, ERRNO, TRAP = 0x7FFF0000, 0x7FFC0000, 0x7FF00000, 0x50000, 0x30000
KILL_PROCESS, KILL_THREAD = 0x80000000, 0


def read(text: str, form: str, abi: str) -> tuple[Meaning, tuple[Diagnostic, ...]]:
    draft = translate(text.encode(), "drawn", Reading(form, abis=(abi,)), TABLES)
    assert draft
    policy, notes = load_policy(draft.document(), TABLES)
    return meaning(policy, ABIS[abi], TABLES), (*draft.notes, *notes)


def arguments(draw: random.Random, values: Sequence[int]) -> tuple[int, ...]:
    """Draw arguments near the values that a policy compares with, some with other high words."""
    near = [value + d for value in values for d in (-1, 0, 1)]
    near += [value ^ 1 << draw.randrange(64) for value in values] + [0, 1, U64]
    return tuple(draw.choice(near) & U64 for _ in range(6))


# --- minijail ------------------------------------------------------------------------------------

MINIJAIL_ACTIONS = {
    "allow": ALLOW, "1": ALLOW, "kill": KILL_THREAD, "kill-thread": KILL_THREAD,
    "kill-process": KILL_PROCESS, "trap": TRAP, "trace": TRACE, "log": LOG,
    "return 13": ERRNO | 13, "return EPERM": ERRNO | 1,
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """The text of a value, and what it is before it is cut to a word."""

    text: str
    number: int


@dataclass(frozen=True)
class Atom:
    argument: int
    op: str
    value: Value

    def __str__(self) -> str:
        return f"arg{self.argument} {self.op} {self.value.text}"

    def holds(self, args: Sequence[int], bits: int) -> bool:
        """As bpf.Atom and LoweringVisitor have it: whole words, unsigned; `in` negates a mask."""
        word = (1 << bits) - 1
        left, right = args[self.argument] & word, self.value.number & word
        return {
            "==": left == right,
            "!=": left != right,
            "<": left < right,
            "<=": left <= right,
            ">": left > right,
            ">=": left >= right,
            "&": left & right != 0,
            "in": left & ~right & word == 0,
        }[self.op]


@dataclass(frozen=True)
class Case:
    """Conjunctions of which one must hold, or none for always; the action's own text."""

    clauses: tuple[tuple[Atom, ...], ...]
    action: str

    def __str__(self) -> str:
        if not self.clauses:
            return self.action
        return f"{' || '.join(' && '.join(map(str, one)) for one in self.clauses)}; {self.action}"


def drawn_value(draw: random.Random) -> Value:
    match draw.randrange(6):
        case 0:
            name, number = draw.choice(list(CONSTANTS.items()))
            return Value(name, number)
        case 1:
            inner = drawn_value(draw)
            return Value(f"~({inner.text})", ~inner.number)
        case 2:
            parts = [drawn_value(draw) for _ in range(2)]
            return Value(f"({parts[0].text} | {parts[1].text})", parts[0].number | parts[1].number)
        case 3:
            number = draw.choice([8, 9, 64, 1 << 30])
            return Value(f"0{number:o}", number)
        case 4:
            return Value("-5", -5)
    number = draw.choice([0, 1, 3, 0x10, 0xFFFFFFFF, 0x80000000])
    return Value(draw.choice([f"{number:#x}", str(number), f"0X{number:X}"]), number)


def drawn_case(draw: random.Random, actions: Sequence[str]) -> Case:
    ops = ("==", "!=", "<", "<=", ">", ">=", "&", "in")
    clauses = tuple(
        tuple(
            Atom(draw.randrange(3), draw.choice(ops), drawn_value(draw))
            for _ in range(draw.randint(1, 2))
        )
        for _ in range(draw.randint(1, 2))
    )
    return Case(clauses, draw.choice(actions))


@dataclass
class MinijailPolicy:
    """A policy as its compiler has it: for each call the filters of all its statements in turn."""

    lines: list[str]
    filters: dict[str, list[Case]]
    default: int

    def answer(self, name: str, args: Sequence[int], bits: int) -> int:
        for case in self.filters.get(name, ()):
            held = (all(one.holds(args, bits) for one in clause) for clause in case.clauses)
            if not case.clauses or any(held):
                return MINIJAIL_ACTIONS[case.action]
        return self.default

    def dropped(self, name: str) -> bool:
        """Return True if compile_filter_statement forgets conditions before a plain allow."""
        cases = self.filters.get(name, [])
        plain = [case for case in cases if not case.clauses]
        last = plain and MINIJAIL_ACTIONS[plain[-1].action] == ALLOW
        return bool(last) and any(MINIJAIL_ACTIONS[one.action] != ALLOW for one in cases)

    def values(self) -> list[int]:
        cases = [case for cases in self.filters.values() for case in cases]
        return [atom.value.number for case in cases for clause in case.clauses for atom in clause]


def drawn_minijail(draw: random.Random, arch: str) -> MinijailPolicy:
    denies = draw.random() < 0.2
    default = draw.choice(["", "kill", "kill-process", "trap"]) if not denies else ""
    lines = ["# drawn", "@denylist" if denies else f"@default {default}" if default else ""]
    actions = [a for a in MINIJAIL_ACTIONS if not denies or a.startswith("return")]
    filters: dict[str, list[Case]] = {}
    decided: set[str] = set()
    for _ in range(draw.randint(2, 6)):
        names = draw.sample(CALLS, draw.randint(1, 2))
        if decided & set(names):
            continue
        cases = [drawn_case(draw, actions) for _ in range(draw.randint(0, 2))]
        if not cases or draw.random() < 0.4:
            cases.append(Case((), draw.choice(actions)))
            decided.update(names)
        # `condition; return` alone is where its two compilers part.
        braced = len(cases) > 1 or "return" in cases[0].action or draw.random() < 0.5
        text = f"{{ {', '.join(map(str, cases))} }}" if braced else str(cases[0])
        own = draw.random() < 0.8
        limit = "" if own and draw.random() < 0.5 else f"[arch={arch if own else 'mips'},ppc]"
        called = ", ".join(f"{name}{limit}" for name in names)
        called = f"{{{called}}}" if len(names) > 1 or draw.random() < 0.3 else called
        broken = f" \\\n {text}" if draw.random() < 0.3 else f" {text}"
        lines.append(f"{called}:{broken} # told")
        for name in names if own else ():
            filters.setdefault(name, []).extend(cases)
        if not own:
            decided -= set(names)
    named = {"": ALLOW if denies else KILL_THREAD}
    return MinijailPolicy(lines, filters, named.get(default, MINIJAIL_ACTIONS.get(default, 0)))


@pytest.mark.few(1, "reads many policies")
@pytest.mark.parametrize("abi", ["x86_64", "aarch64", "arm"])
def test_minijails_policies_mean_what_its_compiler_makes_of_them(abi: str) -> None:
    draw, seen, bits = random.Random(1), Counter[str](), ABIS[abi].bits
    numbers = TABLES.tables[abi].numbers
    while seen["policies"] < 40:
        drawn = drawn_minijail(draw, {"aarch64": "arm64"}.get(abi, abi))
        text = "\n".join([*drawn.lines, ""])
        try:
            means, notes = read(text, "minijail", abi)
        except InputError as error:
            # What no call reaches is an error of ours, and nothing of a compiler's concern.
            kinds = {one.kind for one in error.diagnostics}
            assert kinds <= {Problem.DEAD_RULE, Problem.WRONG_STATEMENT}, (text, str(error))
            assert "does not fit" in str(error) or "can never" in str(error), (text, str(error))
            seen["refused"] += 1
            continue
        seen["policies"] += 1
        told = any("forgets the conditions" in note.message for note in notes)
        assert told == any(map(drawn.dropped, drawn.filters)), (text, notes)
        seen["dropped"] += told
        for _ in range(120):
            name, args = draw.choice(CALLS), arguments(draw, drawn.values())
            a, b, c, d, e, f = args if bits == 64 else (arg & 0xFFFFFFFF for arg in args)
            call = Call(numbers[name], ABIS[abi].audit_arch, (a, b, c, d, e, f))
            expected = drawn.answer(name, args, bits)
            assert means.answer(call) == expected, (text, name, args)
            seen[f"{expected:#x}"] += 1
        other = Call(numbers["getpid"], ABIS[abi].audit_arch)
        assert means.answer(other) == drawn.default
        assert means.answer(Call(0, 0x1234)) == KILL_THREAD
    assert seen["refused"] < 120, seen
    assert seen["dropped"], seen
    assert sum(name.startswith("0x") and n > 5 for name, n in seen.items()) > 5, seen


# --- seccompiler ---------------------------------------------------------------------------------

SECCOMPILER_ACTIONS: list[tuple[Any, int]] = [
    ("allow", ALLOW), ("trap", TRAP), ("log", LOG), ("kill_thread", KILL_THREAD),
    ("kill_process", KILL_PROCESS), ({"errno": 9}, ERRNO | 9), ({"trace": 70}, TRACE | 70),
    ({"allow": None}, ALLOW), ({"errno": 70000}, ERRNO | 4095),
]  # fmt: skip


def holds(condition: dict[str, Any], args: Sequence[int]) -> bool:
    """As condition.rs has it: a dword is the low half of both, a mask is taken of both."""
    part = 0xFFFFFFFF if condition["type"] == "dword" else U64
    left: int = args[condition["index"]] & part
    right: int = condition["val"] & part
    op = condition["op"]
    if isinstance(op, dict):
        mask: int = op["masked_eq"] & part
        return left & mask == right & mask
    found: dict[str, bool] = {
        "eq": left == right,
        "ne": left != right,
        "lt": left < right,
        "le": left <= right,
        "gt": left > right,
        "ge": left >= right,
    }
    return found[op]


def drawn_condition(draw: random.Random) -> dict[str, Any]:
    values = [0, 1, 5, 0x80000000, 0xFFFFFFFF, 1 << 32, 0x100000005, U64]
    op = draw.choice(["eq", "ne", "lt", "le", "gt", "ge", {"masked_eq": draw.choice(values)}])
    found = {"type": draw.choice(["dword", "qword"]), "op": op, "val": draw.choice(values)}
    found |= {"index": draw.randrange(6)} | ({"comment": "why"} if draw.random() < 0.2 else {})
    return found


def drawn_rules(draw: random.Random) -> list[dict[str, Any]]:
    rules = []
    for _ in range(draw.randint(1, 7)):
        rule: dict[str, Any] = {"syscall": draw.choice(CALLS)}
        if draw.random() < 0.75:
            rule["args"] = [drawn_condition(draw) for _ in range(draw.randint(1, 3))]
        elif draw.random() < 0.3:
            rule["args"] = None
        rules.append(rule)
    return rules


def matches(rules: Sequence[dict[str, Any]], name: str, args: Sequence[int]) -> bool:
    """As make_seccomp_filter and append_syscall_chain have it: alternatives, or none for always."""
    own = [rule for rule in rules if rule["syscall"] == name]
    chain = [rule["args"] for rule in own if rule.get("args") is not None]
    return bool(own) and (not chain or any(all(holds(one, args) for one in rule) for rule in chain))


def values_of(rules: Sequence[dict[str, Any]]) -> Iterator[int]:
    for rule in rules:
        for one in rule.get("args") or ():
            yield one["val"]


@pytest.mark.few(1, "reads many policies")
@pytest.mark.parametrize("abi", ["x86_64", "aarch64", "riscv64"])
def test_seccompilers_filters_mean_what_it_makes_of_them(abi: str) -> None:
    draw, seen = random.Random(2), Counter[str]()
    numbers = TABLES.tables[abi].numbers
    while seen["filters"] < 60:
        (mismatch, otherwise), (match, answer) = draw.sample(SECCOMPILER_ACTIONS, 2)
        if otherwise == answer:
            continue
        keys = draw.choice(
            [("mismatch_action", "match_action"), ("default_action", "filter_action")]
        )
        rules = drawn_rules(draw)
        one = {keys[0]: mismatch, keys[1]: match, "filter": rules}
        text = json.dumps({"main": one}, indent=draw.choice([None, 2]))
        try:
            means, _ = read(text, "seccompiler", abi)
        except InputError as error:
            assert "can never" in str(error), (text, str(error))
            seen["refused"] += 1
            continue
        seen["filters"] += 1
        for _ in range(120):
            name, args = draw.choice(CALLS), arguments(draw, list(values_of(rules)))
            a, b, c, d, e, f = args
            call = Call(numbers[name], ABIS[abi].audit_arch, (a, b, c, d, e, f))
            expected = answer if matches(rules, name, args) else otherwise
            assert means.answer(call) == expected, (text, name, args)
            seen["matched"] += expected == answer
            seen["calls"] += 1
        assert means.answer(Call(numbers["getpid"], ABIS[abi].audit_arch)) == otherwise
        assert means.answer(Call(0, 0x1234)) == KILL_PROCESS
    assert seen["refused"] < 120, seen
    assert seen["calls"] / 5 < seen["matched"] < seen["calls"] * 4 / 5, seen


# --- Firecracker through libseccomp --------------------------------------------------------------


def for_libseccomp(rule: dict[str, Any], answer: int) -> libseccomp.Rule:
    """Return a rule as Firecracker's to_scmp_type hands it on."""
    number, tests = TABLES.tables["x86_64"].numbers[rule["syscall"]], []
    for one in rule.get("args") or ():
        op, value = one["op"], one["val"]
        if isinstance(op, dict):
            tests.append((one["index"], "MASKED_EQ", [op["masked_eq"], value]))
        elif op == "eq" and one["type"] == "dword":
            tests.append((one["index"], "MASKED_EQ", [0xFFFFFFFF, value]))
        else:
            tests.append((one["index"], op.upper(), [value]))
    return answer, number, tests


@pytest.mark.long("reads many policies")
@pytest.mark.skipif(not libseccomp.is_here(), reason="needs python3-seccomp of the system")
def test_firecrackers_filters_mean_what_libseccomp_makes_of_them() -> None:
    draw, seen = random.Random(3), Counter[str]()
    reading = Reading("seccompiler", runtime=Runtime.LIBSECCOMP, abis=("x86_64",))
    while seen["filters"] < 25:
        rules = drawn_rules(draw)
        one = {"default_action": {"errno": 1}, "filter_action": "allow", "filter": rules}
        try:
            draft = translate(json.dumps({"vmm": one}).encode(), "vmm.json", reading, TABLES)
            assert draft
            policy, notes = load_policy(draft.document(), TABLES)
        except InputError as error:
            assert "refuses a second comparison" in str(error), (rules, str(error))
            seen["refused"] += 1
            continue
        if any("libseccomp up to 2.6 can answer" in note.message for note in draft.notes):
            continue
        rules_made = [for_libseccomp(rule, ALLOW) for rule in rules]
        made = libseccomp.programs([(ERRNO | 1, rules_made)], level=1, bad_arch=KILL_THREAD)
        means, arch = meaning(policy, ABIS["x86_64"], TABLES), ABIS["x86_64"].audit_arch
        for _ in range(150):
            nr = TABLES.tables["x86_64"].numbers[draw.choice([*CALLS, "getpid"])]
            nr |= draw.choice([0] * 9 + [1 << 30])
            asked = draw.choice([arch] * 9 + [0x40000003])
            a, b, c, d, e, f = arguments(draw, list(values_of(rules)))
            data = interpreter.seccomp_data(nr, asked, (a, b, c, d, e, f), 0, "little")
            theirs = interpreter.run(made[0], data, "little").value
            assert means.answer(Call(nr, asked, (a, b, c, d, e, f))) == theirs, (rules, nr, notes)
            seen[f"{theirs:#x}"] += 1
        seen["filters"] += 1
    assert seen["refused"] < 100, seen
    assert min(seen[f"{one:#x}"] for one in (ALLOW, ERRNO | 1, KILL_THREAD)) > 50, seen


def test_where_libseccomp_reads_otherwise_there_is_a_note() -> None:
    """With the place; `dword` of other comparisons than eq, and rules without args."""
    eq, lt = ({"index": 0, "type": "dword", "op": op, "val": 1} for op in ("eq", "lt"))
    about = {"default_action": "trap", "filter_action": "allow"}
    for args, told in (([eq], False), ([eq, lt], True), ([lt | {"type": "qword"}], False)):
        filters = {"vmm": {**about, "filter": [{"syscall": "read", "args": args}]}}
        draft = translate(json.dumps(filters).encode(), "v.json", Reading(abis=("x86_64",)), TABLES)
        assert draft
        assert any("--runtime libseccomp" in note.message for note in draft.notes) == told
