"""`equiv`, `subset` and `diff` of sections io_uring: every operation that changed, and no other."""

from __future__ import annotations

import ipaddress
import itertools
import json
from typing import TYPE_CHECKING, Any

import interpreter
import pytest
import ring_context
from command import inside
from seccompgen.compile.ring import compile_operation
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.filter_changes import ChangeEffect
from seccompgen.core.ring_wording import condition_text
from seccompgen.filters.compare.meaning_diff import diff_filters
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seccompgen.core.ring import RingProgram

TABLES = shipped_tables()
NEWEST = (7, 3, 4)
HEAD = "arches: [x86_64, s390x]\ndefault_action: errno\nsyscalls: []\n"
FREE = HEAD.replace("[]", "\n- {action: allow, names: [io_uring_setup, io_uring_enter]}")
RULES: list[list[tuple[Any, ...]]] = [
    [("CONNECT", "addr in 10.0.0.0/8 and port == 5432")],
    [("CONNECT", "addr in 10.0.0.0/7 and port == 5432")],
    [("CONNECT", "addr in {10.0.0.0/8, fd00::/8} and port in {5432, 6432} or addr == ::1")],
    [("CONNECT", "addr in 10.0.0.0/8 and 5432 <= port < 5433")],
    [("CONNECT", "family == AF_UNIX")],
    [("CONNECT", "family == AF_UNIX and port == 0")],
    [("CONNECT", "addr not in 10.0.0.0/8")],
    [("CONNECT", None)],
    [("CONNECT", "port == 25", "deny"), ("CONNECT", "family in {AF_INET, AF_INET6}")],
    [],
]
ADDRESSES = [
    *("10.0.0.0", "10.1.2.3", "11.0.0.0", "9.255.255.255", "127.0.0.1"),
    *("::1", "fd00::1", "fc00::1", "::ffff:10.0.0.1"),
]


def policy(rules: list[tuple[Any, ...]], head: str = HEAD) -> str:
    lines = ["io_uring:", "  default_action: deny", "  operations:"]
    lines.append("  - {action: allow, names: ['@read']}")
    for name, when, *action in rules:
        answer = action[0] if action else "allow"
        condition = f", when: '{when}'" if when else ""
        lines.append(f"  - {{action: {answer}, names: [{name}]{condition}}}")
    return "\n".join([head.rstrip(), *lines, ""])


def connections() -> Iterator[dict[str, Any]]:
    for address, port in itertools.product(ADDRESSES, [0, 25, 5431, 5432, 5433, 6432]):
        family = ipaddress.ip_address(address).version
        yield {
            "family": ring_context.INET if family == 4 else ring_context.INET6,
            "address": address,
            "port": port,
        }
    yield from ({"family": family} for family in (0, 1, 16))


def permitted(file: Path, name: str) -> set[int]:
    """Return the places of the connections that the compiled policy permits on ABI ``name``."""
    loaded = load_filter(file, TABLES).policy
    assert loaded
    assert loaded.io_uring
    abi = ABIS[name]
    rules = [one for one in loaded.io_uring.rules_for(abi) if one.operation.name == "CONNECT"]
    if not rules:
        return set()
    program = compile_operation(rules[0].operation, rules, abi, loaded.io_uring.origin)
    return {n for n, fields in enumerate(connections()) if _permits(program, fields)}


def _permits(program: RingProgram, fields: dict[str, Any]) -> bool:
    abi = program.abi
    shown = ring_context.context(program.operation.opcode, fields, abi.name, abi.byte_order, NEWEST)
    return interpreter.run(program.to_bytes(), shown, abi.byte_order).value != 0


PAIRS = [
    pytest.param(*pair, marks=[pytest.mark.long("every pair of rules")] if n % 17 else [])
    for n, pair in enumerate(itertools.permutations(range(len(RULES)), 2))
]


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_diff_finds_what_programs_answer_otherwise(tmp_path: Path, left: int, right: int) -> None:
    files = tmp_path / "left.yml", tmp_path / "right.yml"
    for file, number in zip(files, (left, right), strict=True):
        file.write_text(policy(RULES[number]))
    found = diff_filters(load_filter(files[0], TABLES), load_filter(files[1], TABLES), TABLES)
    ours, its = (permitted(file, "x86_64") for file in files)
    assert (ours, its) == tuple(permitted(file, "s390x") for file in files)
    effects = {one.effect for one in found.operations if one.operations == ("CONNECT",)}
    assert effects == {
        effect
        for effect, only in (
            (ChangeEffect.PERMITTED, its - ours),
            (ChangeEffect.REFUSED, ours - its),
        )
        if only
    }
    assert all(one.abis == ("x86_64", "s390x") for one in found.operations)
    assert {name for one in found.operations for name in one.operations} <= {"CONNECT"}
    code = inside("subset", "left.yml", "right.yml", cwd=tmp_path).code
    assert code == (1 if ours - its else 0)
    assert inside("equiv", "left.yml", "right.yml", cwd=tmp_path).code == int(ours != its)


@pytest.mark.parametrize(
    "text",
    [
        "addr in {10.0.0.0/8, fd00::/8} and port in {5432, 6432} or addr == ::1",
        "addr not in 10.0.0.0/8 and port >= 1024",
        "family == AF_UNIX",
        "sqe_flags & IOSQE_FIXED_FILE and addr == 127.0.0.1",
        "not sqe_flags & (IOSQE_FIXED_FILE|IOSQE_IO_LINK)",
    ],
)
def test_conditions_in_words_mean_the_same(tmp_path: Path, text: str) -> None:
    (tmp_path / "left.yml").write_text(policy([("CONNECT", text)]))
    loaded = load_filter(tmp_path / "left.yml", TABLES).policy
    assert loaded
    assert loaded.io_uring
    abi = ABIS["s390x"]
    tests = [
        one.tests
        for one in loaded.io_uring.rules_for(abi)
        if one.operation.name == "CONNECT" and one.permits
    ]
    said = condition_text(tests, abi, TABLES.facts)
    (tmp_path / "right.yml").write_text(policy([("CONNECT", said)]))
    run = inside("equiv", "left.yml", "right.yml", cwd=tmp_path)
    assert run.code == 0, (said, run.out, run.err)


OPENING = "resolve & RESOLVE_BENEATH and flags & O_ACCMODE == O_RDONLY and not flags & O_CREAT"


def test_examples_name_their_fields(tmp_path: Path) -> None:
    (tmp_path / "left.yml").write_text(policy([("CONNECT", None), ("SOCKET", None)]))
    right = [("CONNECT", "port != 80"), ("SOCKET", "type == SOCK_STREAM"), ("OPENAT2", OPENING)]
    (tmp_path / "right.yml").write_text(policy(right))
    run = inside("diff", "left.yml", "right.yml", "--json", cwd=tmp_path)
    assert run.code == 1
    found = {(one["effect"], *one["operations"]): one for one in json.loads(run.out)["operations"]}
    opened = found["permitted", "OPENAT2"]
    assert opened["example"] == "OPENAT2 resolve=RESOLVE_BENEATH"
    assert opened["before"] == "refused"
    assert opened["after"] == f"permitted where {OPENING}"
    assert opened["rules"]["after"][0]["label"] == "io_uring rule 4"
    assert found["refused", "SOCKET"]["after"] == "permitted where type == SOCK_STREAM"
    assert "port 80" in found["refused", "CONNECT"]["example"]


@pytest.mark.parametrize(
    ("left", "right", "code"),
    [
        (FREE, "section", 1),  # an unfiltered ring permits all operations
        ("section", FREE, 0),
        (HEAD, "section", 0),  # no ring can be made
        ("section", HEAD, 1),
    ],
)
def test_subset_of_filters_without_a_section(
    tmp_path: Path, left: str, right: str, code: int
) -> None:
    for file, text in (("left.yml", left), ("right.yml", right)):
        own = policy([("CONNECT", "port == 80")]).replace(
            "  default", "  register: []\n  default", 1
        )
        (tmp_path / file).write_text(own if text == "section" else text)
    run = inside("subset", "left.yml", "right.yml", cwd=tmp_path)
    assert run.code == code, run.out
    assert ("right.yml, rings: refuted" in run.out) == bool(code)
    filters = [load_filter(tmp_path / f"{name}.yml", TABLES) for name in ("left", "right")]
    found = diff_filters(filters[0], filters[1], TABLES)
    assert any(one.effect is ChangeEffect.REFUSED for one in found.operations) == bool(code)


def test_a_ring_through_another_abi_of_the_kernel_is_not_filtered(tmp_path: Path) -> None:
    only_i386 = "arches: [x86_64]\ncompat_arches: [i386]\ndefault_action: errno\nsyscalls:\n"
    only_i386 += "- {action: allow, names: [io_uring_setup], arches: [i386]}\n"
    (tmp_path / "left.yml").write_text(only_i386)
    (tmp_path / "right.yml").write_text(policy([]).replace("[x86_64, s390x]", "[x86_64]"))
    run = inside("subset", "left.yml", "right.yml", cwd=tmp_path)
    assert "rings: refuted for x86_64" in run.out


def test_modules_are_compared_by_their_programs(tmp_path: Path) -> None:
    (tmp_path / "db.yml").write_text(policy([("CONNECT", "port == 5432")]))
    assert inside("build", "db.yml", "-o", ".", cwd=tmp_path).code == 0
    run = inside("equiv", "db.yml", "db", cwd=tmp_path)
    assert (run.code, "rings: proved for 2 ABIs" in run.out) == (0, True)
    assert inside("diff", "db.yml", "db", cwd=tmp_path).code == 0
    for file, old, new in (
        ("_x86_64.py", r"\x15\x38\x00\x00", r"\x15\x39\x00\x00"),
        ("_s390x.py", r"\x15\x38\x00\x00", r"\x15\x39\x00\x00"),
    ):
        module = tmp_path / "db" / file
        text = module.read_text()
        assert old in text
        module.write_text(text.replace(old, new))
    run = inside("subset", "db", "db.yml", cwd=tmp_path)
    assert run.code == 1
    assert "port 5433" in run.out
    assert inside("diff", "db", "db.yml", cwd=tmp_path).code == 1


def test_a_program_that_is_not_ours_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "db.yml").write_text(policy([("CONNECT", "port == 5432")]))
    assert inside("build", "db.yml", "-o", ".", cwd=tmp_path).code == 0
    module = tmp_path / "db" / "_x86_64.py"
    text = module.read_text()
    changed = text.replace(r"\x06\x00\x00\x00\x01\x00\x00\x00", r"\x16\x00\x00\x00\x01\x00\x00\x00")
    assert changed != text
    module.write_text(changed)
    with pytest.raises(InputError, match="seccompgen does not write such"):
        diff_filters(
            load_filter(tmp_path / "db", TABLES), load_filter(tmp_path / "db.yml", TABLES), TABLES
        )


def test_filters_without_sections_say_nothing_of_rings(tmp_path: Path) -> None:
    (tmp_path / "left.yml").write_text(FREE)
    (tmp_path / "right.yml").write_text(HEAD)
    assert "rings" not in inside("equiv", "left.yml", "right.yml", cwd=tmp_path).out


def test_textconv_hides_no_program_of_an_operation(tmp_path: Path) -> None:
    (tmp_path / "db.yml").write_text(policy([("CONNECT", "port == 5432")]))
    assert inside("build", "db.yml", "-o", ".", cwd=tmp_path).code == 0
    module = tmp_path / "db" / "_x86_64.py"
    before = inside("diff", "--textconv", "db/_x86_64.py", cwd=tmp_path).out
    lines = module.read_text().splitlines(keepends=True)
    (at,) = (n for n, line in enumerate(lines) if "jeq  0x3815 5432" in line)
    lines[at] = lines[at].replace(r"\x15\x38", r"\x15\x39")
    module.write_text("".join(lines))
    after = inside("diff", "--textconv", "db/_x86_64.py", cwd=tmp_path).out
    assert before != after
