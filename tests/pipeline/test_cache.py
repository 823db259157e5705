"""Kept programs are used where all is the same, and nowhere else; damage is made good."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from command import ROOT, snapshot
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import Position
from seccompgen.core.objective import Objective, Optimize, Profile
from seccompgen.core.program import RET_K, Instruction
from seccompgen.core.tables import Table, Tables
from seccompgen.formats import load_policy
from seccompgen.pipeline import cache as cache_module
from seccompgen.pipeline.build import BuildOptions, build_policy, shipped_tables
from seccompgen.pipeline.cache import ProgramCache

if TYPE_CHECKING:
    from seccompgen.core.built import Built

TABLES = shipped_tables()
POLICY = (
    "arches: [x86_64, s390x]\ndefault_action: errno\nsyscalls:\n"
    "- {action: allow, names: [read, write, exit_group]}\n"
)
DAY = 24 * 3600


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "p.yml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "programs"


def build(
    policy: Path, place: Path, tables: Tables = TABLES, objective: Objective | None = None
) -> Built:
    return build_policy(policy, tables, (), objective or Objective(), BuildOptions(1, place))


def poison(entry: Path, code: bytes) -> None:
    """Put instructions into an entry that the compiler never made, with a digest that is right."""
    payload = json.loads(entry.read_bytes().partition(b"\n")[2])
    payload["code"] = code.hex()
    payload["of"] = [[0]] * (len(code) // 8)
    text = json.dumps(payload).encode()
    digest = hashlib.sha256(entry.name.encode() + text).hexdigest()
    entry.write_bytes(digest.encode() + b"\n" + text)


def poison_all(place: Path) -> None:
    """Make every program one that answers trace(77), in its own byte order."""
    for entry in place.iterdir():
        code = json.loads(entry.read_bytes().partition(b"\n")[2])["code"]
        big = code.startswith("00")
        poison(entry, bytes.fromhex("00060000 7ff0004d" if big else "06000000 4d00f07f"))


POISON = (Instruction(RET_K, 0, 0, 0x7FF0004D),)


def poisoned(built: Built) -> bool:
    found = {program.instructions == POISON for program in built.programs}
    assert len(found) == 1
    return found.pop()


def test_what_comes_from_the_cache_is_what_the_compiler_makes(policy: Path, place: Path) -> None:
    first = build(policy, place)
    assert first == build_policy(policy, TABLES)
    before = snapshot(place)
    assert len(before) == 2
    assert build(policy, place) == first
    assert snapshot(place) == before
    # The proof that the second came from there.
    poison_all(place)
    assert poisoned(build(policy, place))


def test_without_a_cache_nothing_is_read(policy: Path, place: Path) -> None:
    build(policy, place)
    poison_all(place)
    assert not poisoned(build_policy(policy, TABLES))


def test_some_are_here_and_the_rest_is_compiled(policy: Path, place: Path) -> None:
    whole = build(policy, place)
    one = build_policy(policy, TABLES, [ABIS["s390x"]], options=BuildOptions(1, place))
    assert one.programs == (whole.programs[1],)
    assert len(snapshot(place)) == 2
    next(place.iterdir()).unlink()
    assert build(policy, place) == whole
    assert len(snapshot(place)) == 2


@pytest.mark.few(3, "builds again and again")
@pytest.mark.parametrize(
    "change",
    [
        ("read, ", "read, close, "),
        ("default_action: errno", "default_action: errno(13)"),
        ("- {action", "-   {action"),  # the same meaning, at other positions
        ("default_action", "bad_arch_action: trap\ndefault_action"),
        ("arches: [x86_64, s390x]", "compat_arches: [i386]\narches: [x86_64, s390x]"),
        ("", "description: other words\n"),
    ],
)
def test_another_policy_is_compiled(policy: Path, place: Path, change: tuple[str, str]) -> None:
    build(policy, place)
    poison_all(place)
    policy.write_text(POLICY.replace(*change, 1))
    built = build(policy, place)
    assert not poisoned(built)
    assert built == build_policy(policy, TABLES)
    policy.write_text(POLICY)
    assert poisoned(build(policy, place))


def test_where_a_policy_lies_does_not_matter_and_its_positions_are_its_own(
    policy: Path, place: Path, tmp_path: Path
) -> None:
    """As in another checkout; of several files, each is told apart."""
    (tmp_path / "part.yml").write_text(POLICY)
    policy.write_text("include: [part.yml]\nsyscalls:\n- {action: allow, names: [close]}\n")
    build(policy, place)
    for name in ("q.yml", "elsewhere/q.yml"):
        other = tmp_path / name
        other.parent.mkdir(exist_ok=True)
        shutil.copy(policy, other)
        if other.parent != tmp_path:
            shutil.copy(tmp_path / "part.yml", other.parent)
        before = snapshot(place)
        built = build(other, place)
        assert snapshot(place) == before
        assert built == build_policy(other, TABLES)
        files = {o.position.file for p in built.programs for each in p.origins for o in each}
        assert files == {str(other), str(other.parent / "part.yml")}
    poison_all(place)
    assert poisoned(build(other, place))


def altered(abi: str, tag: str = TABLES.tag) -> Tables:
    """Return the tables with one more call on ``abi``."""
    tables = {
        name: Table(table.abi, tag, dict(table.numbers), table.inputs)
        for name, table in TABLES.tables.items()
    }
    numbers = {**tables[abi].numbers, "brand_new": 4000}
    tables[abi] = replace(tables[abi], numbers=numbers)
    return Tables(tag, tables)


@pytest.mark.parametrize("tables", [altered("x86_64"), altered("x32"), altered("arm", "v7.4")])
def test_other_tables_are_compiled_for(policy: Path, place: Path, tables: Tables) -> None:
    build(policy, place)
    poison_all(place)
    assert not poisoned(build(policy, place, tables))
    assert poisoned(build(policy, place))


PROFILE = Profile({"read": 5}, "f", "0" * 64)
OBJECTIVES = [
    Objective(optimize=Optimize.SIZE),
    Objective(optimize=Optimize.SPEED),
    Objective(bitmap=False),
    Objective(profile=PROFILE),
    Objective(profile=replace(PROFILE, counts={"read": 6})),
]


@pytest.mark.long("builds again and again")
def test_another_objective_is_compiled_for(policy: Path, place: Path) -> None:
    build(policy, place)
    for objective in OBJECTIVES:
        poison_all(place)
        assert not poisoned(build(policy, place, objective=objective))
        assert poisoned(build(policy, place))
    assert len(snapshot(place)) == 2 * (1 + len(OBJECTIVES))


def test_where_names_stand_in_a_profile_does_not_matter(policy: Path, place: Path) -> None:
    build(policy, place, objective=Objective(profile=PROFILE))
    poison_all(place)
    moved = replace(PROFILE, positions={"read": Position("f", 7)})
    assert poisoned(build(policy, place, objective=Objective(profile=moved)))


BUILD = """
import sys
from pathlib import Path
import seccompgen
from seccompgen.pipeline.build import BuildOptions, build_policy, shipped_tables
assert seccompgen.__file__.startswith(sys.argv[1]), seccompgen.__file__
options = BuildOptions(1, Path(sys.argv[3]))
built = build_policy(Path(sys.argv[2]), shipped_tables(), options=options)
print([len(program.instructions) for program in built.programs])
"""


def copy_of_the_source(directory: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(
        ROOT / "generator" / "seccompgen", directory / "seccompgen", ignore=ignored
    )


@pytest.mark.long("builds again and again")
def test_another_compiler_compiles(policy: Path, place: Path, tmp_path: Path) -> None:
    source = tmp_path / "generator"
    package = copy_of_the_source(source)

    def lengths() -> str:
        return subprocess.run(
            [sys.executable, "-c", BUILD, source, policy, place],
            env={**os.environ, "PYTHONPATH": str(source)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    lengths()
    poison_all(place)
    assert lengths() == "[1, 1]\n"
    for outside in ("scan/x86.py", "cli/build.py", "render/listing.py"):
        with (package / outside).open("a") as file:
            file.write("\n# changed\n")
    assert lengths() == "[1, 1]\n"
    compiler = package / "compile" / "assemble.py"
    compiler.write_bytes(compiler.read_bytes() + b"\n# changed\n")
    assert lengths() != "[1, 1]\n"
    assert len(snapshot(place)) == 4


LOADED = """
import pickle, sys
import seccompgen.pipeline.cache, seccompgen.pipeline.proved
with open(sys.argv[1], "rb") as file:
    seccompgen.pipeline.proved.compile_proved(*pickle.load(file))
for name, module in sys.modules.items():
    if name.startswith("seccompgen"):
        print(module.__file__)
"""


def test_what_decides_a_program_is_what_is_loaded_to_make_one(policy: Path, tmp_path: Path) -> None:
    """Imports, as they are read, beside those that Python makes; nothing else is in the key."""
    package = ROOT / "generator" / "seccompgen"
    task = tmp_path / "task"
    # The key has what tables say, so the code that reads them when they are asked does not count.
    tables = Tables(TABLES.tag, dict(TABLES.tables))
    task.write_bytes(
        pickle.dumps((load_policy(policy, tables)[0], ABIS["arm"], tables, Objective()))
    )
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED, task], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    named = {str(path) for path in cache_module.deciding_files(package)}
    assert set(loaded) <= named
    beyond = {str(Path(path).relative_to(package)) for path in named - set(loaded)}
    # Tables can name numbers when somebody prints them, which is done where no program is made.
    names = ("naming", "spelling", "argument_families", "constant_families")
    naming = {f"core/{name}.py" for name in names}
    # A policy's section for rings decides none of the programs that are kept.
    others = {"core/objective.py", "core/ring.py", "core/sets.py", "verify/smt.py"}
    assert beyond - naming <= others


def test_each_file_that_decides_is_in_the_key_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = copy_of_the_source(tmp_path)
    monkeypatch.setattr(cache_module, "__file__", str(package / "pipeline" / "cache.py"))
    deciding = set(cache_module.deciding_files(package))
    first = cache_module._fingerprint()
    for path in {*package.rglob("*.py")} - deciding:
        path.write_bytes(path.read_bytes() + b"# a remark\n")
    assert cache_module._fingerprint() == first
    for path in sorted(deciding):
        whole = path.read_bytes()
        path.write_bytes(whole + b"# a remark\n")
        assert cache_module._fingerprint() != first, path
        path.write_bytes(whole)
    assert cache_module._fingerprint() == first


@pytest.mark.parametrize("what", ["numpy", "python"])
def test_another_numpy_or_python_compiles(
    what: str, policy: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(policy, place)
    poison_all(place)
    if what == "numpy":
        monkeypatch.setattr(cache_module, "_numpy_release", lambda: b"0.0")
    else:
        other = SimpleNamespace(implementation=sys.implementation, version_info=(3, 99, 0))
        monkeypatch.setattr(cache_module, "sys", other)
    assert not poisoned(build(policy, place))


def test_a_compiler_that_changes_meanwhile_keeps_nothing(
    policy: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ProgramCache(place, TABLES, Objective())
    built = build_policy(policy, TABLES)
    monkeypatch.setattr(
        cache_module, "__file__", str(Path(cache_module.__file__).parent / "cli" / "x")
    )
    cache.save([(built.policy, built.programs)])
    assert not list(place.iterdir())


@pytest.mark.few(4, "builds again and again")
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:0],
        lambda content: content + b" ",
        lambda content: content.replace(b'"code"', b'"Code"'),
        lambda content: b"0" * 64 + content[64:],
        lambda content: content.partition(b"\n")[2],
        lambda content: b"\x80\x04\x95" + content,
    ],
)
def test_a_damaged_entry_is_made_anew(policy: Path, place: Path, damage: object) -> None:
    built = build(policy, place)
    whole = snapshot(place)
    assert callable(damage)
    for entry in place.iterdir():
        entry.write_bytes(damage(entry.read_bytes()))
        assert entry.read_bytes() != whole[entry.name]
    assert build(policy, place) == built
    assert snapshot(place) == whole


def test_an_entry_under_another_name_is_made_anew(policy: Path, place: Path) -> None:
    built = build(policy, place)
    whole = snapshot(place)
    one, other = sorted(place.iterdir())
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert build(policy, place) == built
    assert snapshot(place) == whole


@pytest.mark.few(4, "builds again and again")
@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{}", b"7", b'{"code": 1}', b'{"code": "00", "origins": [], "of": []}', b"\xff"],
)
def test_an_entry_that_is_no_program_is_made_anew(
    policy: Path, place: Path, payload: bytes
) -> None:
    built = build(policy, place)
    for entry in place.iterdir():
        digest = hashlib.sha256(entry.name.encode() + payload).hexdigest().encode()
        entry.write_bytes(digest + b"\n" + payload)
    assert build(policy, place) == built


def test_what_the_kernel_refuses_is_made_anew(policy: Path, place: Path) -> None:
    built = build(policy, place)
    for entry in place.iterdir():
        poison(entry, bytes.fromhex("2000000004000000"))  # ends in a load
    assert build(policy, place) == built


def test_a_directory_that_others_may_write_is_not_used(policy: Path, place: Path) -> None:
    built = build(policy, place)
    assert place.stat().st_mode & 0o777 == 0o700
    poison_all(place)
    before = snapshot(place)
    for mode in (0o770, 0o702, 0o1777):
        place.chmod(mode)
        assert build(policy, place) == built
        assert snapshot(place) == before
    place.chmod(0o755)
    assert poisoned(build(policy, place))


@pytest.mark.root("makes a directory somebody else's")
def test_a_directory_of_somebody_else_is_not_used(policy: Path, place: Path) -> None:
    built = build(policy, place)
    poison_all(place)
    os.chown(place, 65534, 65534)
    assert build(policy, place) == built


def test_without_a_directory_everything_is_compiled(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "programs", tmp_path / "file", Path("/proc/1/nowhere")):
        assert build(policy, place) == build_policy(policy, TABLES)
    assert (tmp_path / "file").read_bytes() == b""


def test_what_nobody_reads_for_a_month_goes_when_something_is_added(
    policy: Path, place: Path
) -> None:
    build(policy, place)
    old, recent = sorted(place.iterdir())
    now = time.time()
    os.utime(old, (now - 31 * DAY,) * 2)
    os.utime(recent, (now - 29 * DAY,) * 2)
    policy.write_text(POLICY.replace("read, ", ""))
    build(policy, place)
    left = set(place.iterdir())
    assert old not in left
    assert recent in left
    assert len(left) == 3


def test_reading_keeps_an_entry(policy: Path, place: Path) -> None:
    build(policy, place)
    for entry in place.iterdir():
        os.utime(entry, (time.time() - 29 * DAY,) * 2)
    build(policy, place)
    assert all(entry.stat().st_mtime > time.time() - DAY for entry in place.iterdir())


def test_an_entry_of_the_future_drops_nothing(policy: Path, place: Path) -> None:
    build(policy, place)
    first = sorted(place.iterdir())
    os.utime(first[0], (time.time() + 1000 * DAY,) * 2)
    policy.write_text(POLICY.replace("read, ", ""))
    build(policy, place)
    assert len(list(place.iterdir())) == 4


@pytest.mark.long("builds again and again")
def test_builds_at_the_same_time_do_not_disturb_each_other(policy: Path, place: Path) -> None:
    command = [sys.executable, "-c", BUILD, str(ROOT), str(policy), str(place)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    answers = {run.communicate()[0] for run in runs}
    assert [run.returncode for run in runs] == [0] * 3
    assert len(answers) == 1
    assert len(list(place.iterdir())) == 2
    poison_all(place)
    assert poisoned(build(policy, place))


_BUILD = """
import sys
from pathlib import Path
from seccompgen.pipeline.build import BuildOptions, build_policy, shipped_tables
build_policy(Path(sys.argv[1]), shipped_tables(), options=BuildOptions(1, Path(sys.argv[2])))
"""


@pytest.mark.long("builds again and again")
def test_another_process_finds_rules_for_several_abis(tmp_path: Path, place: Path) -> None:
    """The order of a set of names is another in each process."""
    policy = tmp_path / "p.yml"
    rule = (
        "- {action: errno(EACCES), names: [personality], arches: [x86_64, s390x, arm, riscv64]}\n"
    )
    policy.write_text(f"{POLICY}{rule}".replace("[x86_64, s390x]\nd", "[x86_64, arm, s390x]\nd"))
    kept = []
    for seed in "12":
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", _BUILD, policy, place], env=env, check=True)
        kept.append(snapshot(place).keys())
    assert len(kept[0]) == 3
    assert kept[0] == kept[1]
