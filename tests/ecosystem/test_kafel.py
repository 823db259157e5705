"""kafel's own compiler makes of policies what our reader makes of them, on all that it knows."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kafel_sources import SOURCES, Kafel, table
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.program import decode
from seccompgen.formats import load_policy
from seccompgen.formats.kafel import calls as reader
from seccompgen.formats.kafel.calls import kafel_calls
from seccompgen.verify import Code, Proof, meaning, prove
from seccompgen.verify.call import ZERO_HIGH_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(not SOURCES.exists(), reason="kafel's sources are not beside the project"),
]
NSJAIL = SOURCES.parents[1] / "corpus" / "nsjail"


@pytest.fixture(autouse=True)
def no_high_words_of_i386(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare calls of i386 by their low words, which are all that system calls get.

    kafel asks for 64 bits of some arguments, of which 64-bit code can fill the upper 32.
    """
    monkeypatch.setitem(ZERO_HIGH_WORDS, ABIS["i386"].audit_arch, "i386")


@pytest.fixture(scope="module")
def kafel(tmp_path_factory: pytest.TempPathFactory) -> Kafel:
    if not all(map(shutil.which, ("gcc", "make", "bison", "flex"))):
        pytest.skip("no gcc, bison and flex to build kafel with")
    return Kafel(tmp_path_factory.mktemp("kafel"))


def is_equal(text: str, abi: str, kafel: Kafel, file: Path) -> Proof | object:
    """Compile a policy by kafel and read it as ours; return the proof that they are equal."""
    theirs = kafel.compiled(text, abi)
    assert isinstance(theirs, bytes), theirs
    file.write_text(text)
    policy, _ = load_policy(file, TABLES, Reading(abis=(abi,)))
    code = Code(decode(theirs, ABIS["x86_64"]), ABIS[abi].byte_order)
    return prove(meaning(policy, ABIS[abi], TABLES), code)


def test_the_table_is_kafels() -> None:
    committed = Path(reader.__file__).with_suffix(".csv").read_text()
    assert table(SOURCES) == committed, "python tests/helpers/kafel_sources.py writes it"


@pytest.mark.parametrize("abi", kafel_calls())
def test_every_name_means_what_it_means_to_kafel(abi: str, kafel: Kafel, tmp_path: Path) -> None:
    """Each name has an errno of its own, so that one proof compares them all.

    Names of m68k that begin with "_" are in kafel's table, and no word of its language.
    """
    names = enumerate((name for name in kafel_calls()[abi] if name[0] != "_"), 1)
    text = ",\n".join(f"ERRNO({errno}) {{ {name} }}" for errno, name in names) + "\nDEFAULT KILL\n"
    assert isinstance(is_equal(text, abi, kafel, tmp_path / "a.kafel"), Proof)


@pytest.mark.parametrize("abi", kafel_calls())
def test_every_argument_is_the_one_of_kafel(abi: str, kafel: Kafel, tmp_path: Path) -> None:
    """Arguments of a call are asked for one beside the other, each for another number."""
    rules = [
        f"ERRNO({errno}) {{ {name} {{ {' && '.join(_asked(call.arguments))} }} }}"
        for errno, (name, call) in enumerate(kafel_calls()[abi].items(), 1)
        if call.arguments and name[0] != "_"
    ]
    for start in range(0, len(rules), 60):
        text = ",\n".join(rules[start : start + 60]) + "\nDEFAULT KILL\n"
        assert isinstance(is_equal(text, abi, kafel, tmp_path / f"{start}.kafel"), Proof)


def _asked(arguments: tuple[reader.KafelArgument, ...]) -> Iterator[str]:
    return (f"{one.name} == {10 + i}" for i, one in enumerate(arguments) if one.name[0] != "_")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "// nothing\n",
        "USE none DEFAULT KILL",
        "ALLOW { opnat } DEFAULT KILL",
        "POLICY unused { ALLOW { opnat } } DEFAULT KILL",
        "POLICY unused { ALLOW { read { fdd == 1 } } } DEFAULT KILL",
        "ALLOW { read ON sparc } DEFAULT KILL",
        "ALLOW { read ON { x86, i386 } } DEFAULT KILL",
        "ALLOW { read ON } DEFAULT KILL",
        "/* a star takes the next along **/ DEFAULT KILL",
    ],
)
def test_both_refuse(text: str, kafel: Kafel, tmp_path: Path) -> None:
    assert isinstance(kafel.compiled(text, "x86_64"), str)
    (tmp_path / "a.kafel").write_text(text)
    with pytest.raises(InputError):
        load_policy(tmp_path / "a.kafel", TABLES)


@pytest.mark.parametrize("path", sorted(NSJAIL.glob("*.kafel")), ids=lambda path: path.name)
def test_the_configurations_of_nsjail(path: Path, kafel: Kafel, tmp_path: Path) -> None:
    found = is_equal(path.read_text(), "x86_64", kafel, tmp_path / "a.kafel")
    assert isinstance(found, Proof), found


def policies() -> Iterator[tuple[str, str]]:
    """Yield ABIs, and policies of the kafel language for them, drawn at random."""
    for seed in range(48):
        abi = [*kafel_calls()][seed % len(kafel_calls())]
        yield abi, _policy(random.Random(f"kafel {seed}"), abi)


def _policy(rng: random.Random, abi: str) -> str:
    defines = {f"C{i}": rng.choice(_NUMBERS) for i in range(3)}
    parts = [f"#define {name} {value}\n" for name, value in defines.items()]
    names = [f"p{i}" for i in range(rng.randint(1, 3))]
    for i, name in enumerate(names):
        statements = [_block(rng, defines, abi) for _ in range(rng.randint(1, 3))]
        statements += [f"USE {rng.choice(names[:i])}"] if i else []
        rng.shuffle(statements)
        parts.append(f"POLICY {name} {{\n  {', '.join(statements)}\n}}\n")
    parts.append(f"USE {names[-1]}")
    parts.append(f" {_block(rng, defines, abi)}" * rng.randint(0, 1))
    # Calls of other ABIs of MIPS get it from kafel, and from ours what other architectures do.
    default = "KILL" if abi.startswith("mips") else _action(rng)
    parts.append(f"\nDEFAULT {default}\n" * (rng.random() < 0.9))
    return "".join(parts)


_NUMBERS = ["0", "1", "7", "-1", "-100", "0x10", "017", "0b101", "0xffffffff", "4294967296",
            "0x8000000000000000", "18446744073709551615"]  # fmt: skip
_CALLS = {
    "read": ["fd", "buf", "count"],
    "write": ["fd", "buf", "count"],
    "mprotect": ["start", "len", "prot"],
    "openat": ["dfd", "filename", "flags", "mode"],
    "lseek": ["fd", "offset"],
    "getpid": [],
    "kill": ["pid", "sig"],
}


def _action(rng: random.Random) -> str:
    words = ["ALLOW", "LOG", "KILL", "DENY", "KILL_PROCESS", "KILL_THREAD", "USER_NOTIF"]
    number = rng.choice([0, 1, 13, 4095])
    return rng.choice([*words, *(f"{word}({number})" for word in ("ERRNO", "TRAP", "TRACE"))])


def _block(rng: random.Random, defines: dict[str, str], abi: str) -> str:
    calls = []
    for _ in range(rng.randint(1, 4)):
        name = rng.choice([*_CALLS])
        arguments = _CALLS[name]
        head = name if rng.random() < 0.8 else f"SYSCALL[{kafel_calls()[abi][name].nr}]"
        if head != name or rng.random() < 0.4:
            arguments = ["a", "b", "c", "d"][: rng.randint(1, 4)]
            head += f"({', '.join(arguments)})"
        condition = ""
        if arguments and rng.random() < 0.7:
            condition = f" {{ {_condition(rng, arguments, defines, 3)} }}"
        on = ", ".join(rng.sample(["x86", "x86_64", "ARM", "arm64", "mipso32"], rng.randint(1, 3)))
        guarded = rng.random() < 0.2
        calls.append(f"{head}{f' ON {{ {on} }}' * guarded}{condition}")
    return f"{_action(rng)} {{ {', '.join(calls)} }}"


def _condition(
    rng: random.Random, arguments: list[str], defines: dict[str, str], depth: int
) -> str:
    if depth and rng.random() < 0.5:
        parts = [_condition(rng, arguments, defines, depth - 1) for _ in range(2)]
        kind = rng.choice(["&&", "||", "!", ","])
        if kind == "!":
            return f"!({parts[0]})"
        return f"({f' {kind} '.join(parts)})" if kind != "," or depth < 3 else ", ".join(parts)
    argument = rng.choice(arguments)
    values = [*_NUMBERS, *defines]
    side = argument
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        side = f"({side} {rng.choice('&|')} {rng.choice(values)})"
    relation = rng.choice(["==", "!=", "<", "<=", ">", ">="])
    value = rng.choice([rng.choice(values), f"({rng.choice(values)} | {rng.choice(values)})"])
    return f"{side} {relation} {value}" if rng.random() < 0.8 else f"{value} {relation} {side}"


@pytest.mark.parametrize(("abi", "text"), list(policies()))
def test_answers_alike(abi: str, text: str, kafel: Kafel, tmp_path: Path) -> None:
    found = is_equal(text, abi, kafel, tmp_path / "a.kafel")
    assert isinstance(found, Proof), found
