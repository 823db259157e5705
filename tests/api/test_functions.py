"""The library's functions: they do what the commands of their names do, on values as on files."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import seccompgen
from command import inside, snapshot
from command import seccompgen as command
from running_kernel import IS_X86_64
from seccompgen import (
    Action,
    AnswerNo,
    Assembler,
    Condition,
    Filter,
    FilterFlag,
    InputError,
    NameWithConditions,
    Op,
    Policy,
    Program,
    Severity,
    SyscallGroup,
    build,
    compile,  # noqa: A004 - the library's own
    disassemble,
    dump,
    equiv,
    lint,
    read_filter,
    vendor,
    verify,
)

if TYPE_CHECKING:
    from pathlib import Path

SOCKETS = NameWithConditions("socket", [Condition(0, Op.NE, 1)])
POLICY = Policy(
    Action.ALLOW,
    [
        SyscallGroup(
            Action.errno("EACCES"),
            ["ptrace"],
            names_with_args=[SOCKETS],
            multiplexed=Action.ALLOW,
        )
    ],
    name="plain",
    arches=["x86_64", "s390x"],
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plain.yml"
    path.write_text(Filter(POLICY).to_yaml())
    return path


def test_compile_makes_what_build_writes(file: Path, tmp_path: Path) -> None:
    assert inside("build", file, "--format", "bpf", "-o", tmp_path / "out").code == 0
    built = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for policy in (POLICY, Filter(POLICY), file, str(file)):
        programs = compile(policy)
        assert {f"plain.{abi}.bpf": p.to_bytes() for abi, p in programs.items()} == built
    one = compile(POLICY, "s390x")
    assert one.to_bytes() == built["plain.s390x.bpf"]
    assert one.cost.length == len(one.instructions)
    assert str(one.origins[-1][0].position).startswith("plain: ")
    with pytest.raises(InputError, match="not for aarch64: its arches leave that out"):
        compile(POLICY, "arm64")
    with pytest.raises(InputError, match="unknown architecture 'vax'"):
        compile(POLICY, "vax")


def test_build_writes_what_the_command_writes(file: Path, tmp_path: Path) -> None:
    assert inside("build", file, "-o", tmp_path / "command").code == 0
    written = build(file, tmp_path / "library")
    assert snapshot(tmp_path / "library") == snapshot(tmp_path / "command")
    assert written == tuple(sorted(p for p in (tmp_path / "library").rglob("*") if p.is_file()))
    assert build([str(file)], tmp_path / "library") == ()
    # Listings name the lines of a file, and the places of values.
    assert {path.suffix for path in build(POLICY, tmp_path / "library")} == {".py"}
    assert build(POLICY, tmp_path / "library") == ()
    for form in ("bpf", "c", "rust", "go"):
        assert build(POLICY, tmp_path / form, form=form, arches=["x86_64"])
    # The file that says the same is what the module was made from.
    assert command("verify", tmp_path / "library" / "plain", cwd=tmp_path).code == 0


def test_build_leaves_nothing_half_written(tmp_path: Path) -> None:
    wrong = Policy(Action.ALLOW, [SyscallGroup(Action.LOG, ["opne"])], name="wrong")
    with pytest.raises(InputError, match="wrong: syscalls"):
        build([POLICY, wrong], tmp_path / "out")
    with pytest.raises(InputError, match="unknown format 'elf'; known: python"):
        build(POLICY, tmp_path / "out", form="elf")
    assert not (tmp_path / "out").exists()


@pytest.mark.long("compiles many policies")
def test_vendor_does_what_the_command_does(file: Path, tmp_path: Path) -> None:
    assert inside("vendor", file, tmp_path / "command").code == 0
    written = vendor(file, tmp_path / "library")
    assert written
    assert snapshot(tmp_path / "library") == snapshot(tmp_path / "command")
    assert command("vendor", "--check", tmp_path / "library").code == 0
    vendor([str(file)], tmp_path / "one.py", single_file=True)
    (tmp_path / "one.py").write_text("edited")
    with pytest.raises(InputError, match="edited"):
        vendor(file, tmp_path / "one.py", single_file=True)
    assert vendor(file, tmp_path / "one.py", single_file=True, force=True)
    with pytest.raises(InputError, match=r"to_yaml"):
        vendor(POLICY, tmp_path / "values")  # type: ignore[arg-type] # wrong on purpose
    assert not (tmp_path / "values").exists()


@pytest.mark.long("compiles many policies")
def test_verify_proves_programs_and_shows_what_differs(file: Path, tmp_path: Path) -> None:
    for source in (POLICY, file, str(file)):
        verdicts = verify(source)
        assert [one.claim.abi.name for one in verdicts] == ["x86_64", "s390x"]
        assert all(one.proved for one in verdicts)
    program = compile(POLICY, "x86_64")
    assert all(one.proved for one in verify(program, POLICY))
    lax = compile(Policy(Action.ALLOW, [SyscallGroup(Action.LOG, ["ptrace"])]), "x86_64")
    (verdict,) = verify(lax, file)
    assert not verdict.proved
    text = verdict.text(seccompgen.shipped_tables())
    assert text.endswith("policy says errno(EACCES), program says allow") or "log" in text
    with pytest.raises(InputError, match="say which policy"):
        verify(program)
    build(POLICY, tmp_path / "out", form="bpf")
    raw = tmp_path / "out" / "plain.s390x.bpf"
    assert verify(raw, POLICY, abi="s390x")[0].proved
    build(POLICY, tmp_path)
    assert all(one.proved for one in verify(tmp_path / "plain"))
    file.write_text(file.read_text().replace("ptrace", "mount"))
    with pytest.raises(AnswerNo, match="stale"):
        verify(tmp_path / "plain")


def test_equiv_compares_filters_of_every_kind(file: Path) -> None:
    program = compile(POLICY, "x86_64")
    for left, right in ((POLICY, file), (Filter(POLICY), str(file))):
        assert all(one.proved for one in equiv(left, right))
    for other in (POLICY, file, Program.from_bytes(program.to_bytes(), program.abi)):
        (verdict,) = equiv(program, other, abi="x86_64")
        assert verdict.proved
    (verdict,) = equiv(program, "no_exec", abi="x86_64")
    assert not verdict.proved
    with pytest.raises(AnswerNo, match="only one of the two has a program for s390x"):
        equiv(program, POLICY)


def test_lint_finds_what_the_command_finds(tmp_path: Path) -> None:
    test = NameWithConditions("syslog", [Condition(0, Op.EQ, 5, width=64)])
    groups = [SyscallGroup(Action.errno("EPERM"), names_with_args=[test])]
    loose = Policy(Action.ALLOW, groups, arches=["x86_64", "aarch64"])
    path = tmp_path / "loose.yml"
    path.write_text(Filter(loose).to_yaml())
    program = compile(loose, "x86_64")
    for source in (loose, Filter(loose), path, str(path), program):
        errors = [one for one in lint(source) if one.severity is Severity.ERROR]
        assert [one.kind.value for one in errors] == ["ignored-bits"]
        assert errors[0].witness
        assert errors[0].beside
        assert errors[0].witness.call.args[0] & 0xFFFFFFFF == errors[0].beside.call.args[0]
        assert errors[0].witness.ret != errors[0].beside.ret
    told = json.loads(command("lint", "--json", path).out)["findings"]
    assert [one.message for one in lint(path)] == [one["message"] for one in told]
    assert [one.abis for one in lint(loose, abi="aarch64")] == [("aarch64",)]
    assert lint("no_exec", abi="x86_64") == ()
    with pytest.raises(InputError, match="s390x"):
        lint(loose, abi="s390x")


def test_dump_shows_what_disasm_shows(file: Path) -> None:
    assert dump(file) == command("disasm", file).out
    assert dump(POLICY, "s390x").startswith("abi s390x ")
    assert "; socket, rule 1, plain: syscalls[0].names_with_args[0].name" in dump(POLICY)
    program = compile(POLICY, "x86_64")
    bare = Program(program.abi, program.instructions)
    assert dump(bare) == disassemble(bare)
    (again,) = seccompgen.assemble(disassemble(program))
    assert again == bare
    with pytest.raises(InputError, match="jump out of the program"):
        disassemble(Program(bare.abi, bare.instructions[:-3]))


def test_other_tables_can_be_asked() -> None:
    tables = seccompgen.shipped_tables()
    assert compile(POLICY, "x86_64", tables=tables) == compile(POLICY, "x86_64")


def test_an_assembled_program_can_be_proved() -> None:
    asm = Assembler("x86_64")
    asm.load_arch()
    asm.jump_if(Op.NE, asm.abi.audit_arch, "kill")
    asm.load_nr()
    asm.jump_if(Op.EQ, 0xFFFFFFFF, "allow")
    asm.jump_if(Op.ANY_BITS, 0x40000000, "kill")
    asm.jump_if(Op.EQ, 101, "deny", "allow")
    asm.label("deny")
    asm.ret(Action.errno("EPERM"))
    asm.label("allow")
    asm.ret(Action.ALLOW)
    asm.label("kill")
    asm.ret(Action.KILL_PROCESS)
    policy = Policy(Action.ALLOW, [SyscallGroup(Action.errno("EPERM"), ["ptrace"])])
    (verdict,) = verify(asm.program(), policy)
    assert verdict.proved


# --- in force ------------------------------------------------------------------------------------

CONFINED = """
import socket, sys
import seccompgen
from seccompgen import Action, Condition, Filter, FilterFlag, NameWithConditions, Op, Policy
from seccompgen import SyscallGroup
sockets = NameWithConditions("socket", [Condition(0, Op.NE, socket.AF_UNIX)])
group = SyscallGroup(
    Action.errno("EACCES"), names_with_args=[sockets], multiplexed=Action.ALLOW
)
result = Filter(Policy(Action.ALLOW, [group]), flags=FilterFlag.TSYNC).install()
assert result == -1, result
socket.socket(socket.AF_UNIX).close()
try:
    socket.socket(socket.AF_INET)
except PermissionError:
    print("confined")
"""


@pytest.mark.skipif(not IS_X86_64, reason="asks this machine's kernel")
def test_install_confines_the_process() -> None:
    words = [sys.executable, "-c", CONFINED]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    assert run.stdout == "confined\n"


@pytest.mark.skipif(not IS_X86_64, reason="asks this machine's kernel")
def test_install_says_why_not() -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            wrong = Filter(Policy(Action.ALLOW, [SyscallGroup(Action.LOG, ["opne"])]))
            try:
                wrong.install()
            except InputError:
                group = SyscallGroup(Action.LOG, ["read"])
                try:
                    Filter(Policy(Action.ALLOW, [group], arches=["arm"])).install()
                except InputError as error:
                    code = 0 if "not for x86_64" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


RINGS = """
import ctypes
import seccompgen
from seccompgen import Action, Filter, IoUring, OperationGroup, Policy, SeccompError
nops = [OperationGroup("allow", ["NOP"])]
rings = IoUring(default_action="deny", without="{without}", operations=nops)
wanted = Filter(Policy(Action.ALLOW, [], io_uring=rings))
try:
    wanted.install()
except SeccompError as error:
    print(error.cause)
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(425, 0, 0), ctypes.get_errno())
"""


@pytest.mark.skipif(not IS_X86_64, reason="asks this machine's kernel")
@pytest.mark.parametrize("without", ["refuse_rings", "fail"])
def test_install_filters_rings_or_refuses_them_or_fails(without: str) -> None:
    """Also where numpy, which compiles, would start threads."""
    environment = {name: text for name, text in os.environ.items() if "OPENBLAS" not in name}
    words = [sys.executable, "-c", RINGS.replace("{without}", without)]
    run = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    filtered = f"-1 {errno.EFAULT}\n"
    refused = {"refuse_rings": f"-1 {errno.ENOSYS}\n", "fail": f"no_ring_filters\n{filtered}"}
    assert run.stdout in {refused[without], filtered}
    old = int(os.uname().release.partition(".")[0]) < 7
    assert not old or run.stdout == refused[without]


def test_the_runtime_answers_through_the_library() -> None:
    assert seccompgen.supported() == seccompgen.supported()
    assert issubclass(seccompgen.SeccompError, OSError)


def test_flags_of_a_file_are_the_filters(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    head = "default_action: allow\nflags: [log]\nno_new_privs: false\n"
    path.write_text(f"{head}syscalls:\n- {{action: log, names: [read]}}\n")
    value = read_filter(path)
    assert (value.flags, value.no_new_privs, value.policy.name) == (FilterFlag.LOG, False, "p")
