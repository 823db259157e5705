"""Files for minijail and seccompiler: what is written means the policy, or is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from command import inside
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import AnswerNo, InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.problems import Problem
from seccompgen.formats import load_policy, translate
from seccompgen.formats.writing import require_read_back, writer
from seccompgen.pipeline.build import build_policy
from seccompgen.verify import Proof, meaning, prove

X86_64 = ABIS["x86_64"]
ACTIONS = ["allow", "errno(EACCES)", "trap", "log", "kill_process", "trace"]
WHOLE = ("u64(arg{}) == {}", "u64(arg{}) != {}", "u64(arg{}) < {}", "u64(arg{}) >= {}")
TESTS = (*WHOLE, "arg{} & {}", "not arg{} & {}", "arg{} & 6 == {}", "u32(arg{}) == {}")


def random_text(draw: random.Random, default: str, foreign: str, actions: list[str]) -> str:
    """Return a policy for three calls, with conditions of 32 bits, of 64 and of the kernel's."""
    lines = ["arches: [x86_64]", "compat_arches: [x32]", f"default_action: {default}"]
    lines += [f"bad_arch_action: {foreign}", "syscalls:"]
    for _ in range(draw.randint(1, 4)):
        when = draw.choice([" and ", " or "]).join(
            draw.choice(TESTS).format(draw.randrange(3), draw.choice([1, 2, 4, 255, 1 << 31]))
            for _ in range(draw.randint(1, 2))
        )
        name = draw.choice(["read", "fcntl", "mmap"])
        action = f"action: {draw.choice(actions)}, arches: [x86_64]"
        lines.append(f"- {{{action}, names: [{name}], when: '{when}'}}")
    lines.append(f"- {{action: {actions[0]}, arches: [x86_64], names: [futex, exit_group]}}")
    return "\n".join(lines)


@pytest.mark.parametrize("form", ["minijail", "seccompiler"])
def test_what_is_written_reads_as_the_policy(form: str, tmp_path: Path) -> None:
    draw, proved, refused = random.Random(5), 0, 0
    path = tmp_path / "demo.yml"
    while proved < 8:
        if form == "minijail":
            default = draw.choice(["kill_thread", "kill_process", "trap"])
            path.write_text(random_text(draw, default, "kill_thread", ACTIONS))
        else:
            default, match = draw.sample(["errno(9)", "allow", "trap", "trace(4)"], 2)
            path.write_text(random_text(draw, default, "kill_process", [match, match, default]))
        try:
            policy, _ = load_policy(path, TABLES)
        except InputError:  # a rule that never matches
            continue
        try:
            content = writer(form).render(policy, X86_64, TABLES, None)
        except InputError as error:
            assert "more than 64" in str(error)
            refused += 1
            continue
        reading = Reading(form, abis=("x86_64",))
        draft = translate(content, "demo", reading, TABLES)
        assert draft
        again, _ = load_policy(draft.document(), TABLES)
        found = prove(meaning(policy, X86_64, TABLES), meaning(again, X86_64, TABLES))
        assert isinstance(found, Proof), (path.read_text(), content, found)
        proved += 1
    assert refused < 15


POLICY = """
arches: [x86_64, aarch64, loongarch64]
default_action: kill_process
syscalls:
- {action: allow, names: [read, exit_group]}
- {action: allow, names: [mmap], when: not prot & PROT_EXEC}
- {action: allow, names: [socket], when: family == AF_UNIX}
"""


@pytest.mark.long("builds again and again")
def test_files_of_a_policy(tmp_path: Path) -> None:
    (tmp_path / "demo.yml").write_text(POLICY)
    run = inside("build", "demo.yml", "--format", "seccompiler", "-o", "out", cwd=tmp_path)
    assert run.code == 0, run.err
    assert "seccompiler has nothing for loongarch64" in run.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "demo.aarch64.json",
        "demo.x86_64.json",
    ]
    assert (tmp_path / "out" / "demo.x86_64.json").read_text() == (
        '{\n  "demo": {\n    "mismatch_action": "kill_process",\n    "match_action": "allow",\n'
        '    "filter": [\n'
        '      {"syscall": "read"},\n'
        '      {"syscall": "mmap", "args": [{"index": 2, "type": "dword", "op": {"masked_eq": 4}, '
        '"val": 0}]},\n'
        '      {"syscall": "socket", "args": [{"index": 0, "type": "dword", "op": "eq", "val": 1}]'
        "},\n"
        '      {"syscall": "exit_group"}\n    ]\n  }\n}\n'
    )
    thread = POLICY.replace("kill_process", "kill_thread\nbad_arch_action: kill_thread")
    (tmp_path / "demo.yml").write_text(thread)
    run = inside("build", "demo.yml", "--format", "minijail", "-o", "out", cwd=tmp_path)
    assert run.code == 0, run.err
    assert (tmp_path / "out" / "demo.x86_64.policy").read_text() == (
        "# demo for x86_64, from seccompgen.\n@default kill-thread\nread: 1\nmmap: arg2 in ~4\n"
        "socket: arg0 & 1 && arg0 in ~0xfffffffe\nexit_group: 1\n"
    )


REFUSED = """
arches: [x86_64]
compat_arches: [i386]
default_action: errno(EPERM)
flags: [log]
syscalls:
- {action: trap(7), names: [rmdir]}
- {action: log, names: [mkdir]}
"""


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        (
            "minijail",
            ["demo.yml:2:1", "demo.yml:3:17", "demo.yml:4:17", "demo.yml", "demo.yml:6:3"],
        ),
        ("seccompiler", ["demo.yml:3:17", "demo.yml:4:17", "demo.yml", "demo.yml:6:3"]),
    ],
)
def test_all_that_cannot_be_said_is_told_at_once(
    form: str, lines: list[str], tmp_path: Path
) -> None:
    (tmp_path / "demo.yml").write_text(REFUSED)
    policy, _ = load_policy(tmp_path / "demo.yml", TABLES)
    with pytest.raises(InputError) as caught:
        writer(form).render(policy, X86_64, TABLES, None)
    found = caught.value.diagnostics
    assert {one.kind for one in found} == {Problem(f"not-in-{form}")}
    assert {Path(str(one.position).split(":")[0]).name for one in found} == {"demo.yml"}
    assert len(found) >= len(lines)


def test_a_wrong_file_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "demo.yml"
    path.write_text(POLICY.replace(", aarch64, loongarch64", ""))
    program = build_policy(path, TABLES, [X86_64]).programs[0]
    policy, _ = load_policy(path, TABLES)
    right = writer("seccompiler").render(policy, X86_64, TABLES, None)
    require_read_back("seccompiler", right, policy, program, TABLES)
    wrong = [right.replace(b'"read"', b'"write"'), right.replace(b"kill_process", b"trap")]
    for one in wrong:
        with pytest.raises(AnswerNo, match="a wrong seccompiler file"):
            require_read_back("seccompiler", one, policy, program, TABLES)


def test_minijails_compiler_keeps_conditions_before_an_allow(tmp_path: Path) -> None:
    """It forgets all of a call whose statement ends with a plain allow."""
    (tmp_path / "demo.yml").write_text(
        "arches: [x86_64]\ncompat_arches: [x32]\nbad_arch_action: kill_thread\n"
        "default_action: kill_thread\nsyscalls:\n"
        "- {action: trap, arches: [x86_64], names: [read], when: fd == 5}\n"
        "- {action: allow, arches: [x86_64], names: [read]}\n"
        "- {action: allow, arches: [x86_64], names: [write, exit_group]}\n"
    )
    run = inside("build", "demo.yml", "--format", "minijail", "-o", ".", cwd=tmp_path)
    assert run.code == 0, run.err
    lines = (tmp_path / "demo.x86_64.policy").read_text().splitlines()
    (read,) = [line for line in lines if line.startswith("read:")]
    assert read.endswith("; trap, arg0 >= 0; 1 }")
    assert {"write: 1", "exit_group: 1"} < {*lines}
    run = inside("lint", "demo.x86_64.policy", "--for", "x86_64", cwd=tmp_path)
    assert "forgets the conditions" not in run.out + run.err


def test_minijail_says_few_values_first_and_nothing_that_never_matches(tmp_path: Path) -> None:
    """All values but two are thousands of tests of bits, and two are two."""
    (tmp_path / "demo.yml").write_text(
        "arches: [x86_64]\ndefault_action: errno(EPERM)\nkernel: v6.6\n"
        "bad_arch_action: kill_thread\nunknown_action: kill_thread\nsyscalls:\n"
        "- {action: allow, names: [madvise], when: 'behavior not in {100, 101}'}\n"
        "- {action: allow, names: [sendto], when: addr == 0 and not flags & 0x20000000}\n"
        "- {action: allow, names: [sendto], when: addr != 0 or flags & 0x20000000}\n"
        "- {action: allow, names: [read, exit_group]}\n"
        "- {action: allow, names: [write], when: fd == 1}\n"
        "- {action: allow, names: [write]}\n"
    )
    run = inside("build", "demo.yml", "--format", "minijail", "-o", ".", cwd=tmp_path)
    assert run.code == 0, run.err
    lines = (tmp_path / "demo.x86_64.policy").read_text().splitlines()
    (madvise,) = [line for line in lines if line.startswith("madvise:")]
    assert madvise.count("||") == 1
    assert madvise.endswith("; return 1, arg0 >= 0; 1 }")
    assert {"sendto: 1", "write: 1"} < {*lines}


@pytest.mark.parametrize(("form", "foreign"), [("minijail", "kill_thread"), ("seccompiler", "")])
def test_a_setting_that_no_file_says_is_told_with_what_makes_it_so(
    form: str, foreign: str, tmp_path: Path
) -> None:
    (tmp_path / "demo.yml").write_text(
        "arches: [x86_64]\ndefault_action: errno(EPERM)\nkernel: v6.6\nsyscalls:\n"
        "- {action: allow, names: [read, exit_group]}\n"
    )
    policy, _ = load_policy(tmp_path / "demo.yml", TABLES)
    with pytest.raises(InputError) as caught:
        writer(form).render(policy, X86_64, TABLES, None)
    text = "\n".join(one.message for one in caught.value.diagnostics)
    assert "here unknown_action errno(ENOSYS), which follows from kernel" in text
    if foreign:
        assert "bad_arch_action kill_process, which is the default" in text
        assert f"say `bad_arch_action: {foreign}`" in text
    else:
        assert "it cannot express errno(EPERM) as well; say `default_action: errno(ENOSYS)`" in text
