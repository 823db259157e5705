"""The other way in: found in a policy and in its program alike, with a call that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from linting import FORMS, findings
from seccompgen.core.model import ActionKind
from seccompgen.lint import Severity

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.lint import Finding

ALLOW = ActionKind.ALLOW.value
DENY = "default_action: allow\narches: [{abi}]\nsyscalls:\n- {{action: errno, names: [{names}]}}\n"
HALF = """\
default_action: errno
arches: [{abi}]
syscalls:
- action: allow
  names: [exit_group, rt_sigreturn, read, {others}]
  names_with_args:
  - {{name: {name}, arguments: [{argument}]}}
"""


def lint_text(tmp_path: Path, text: str, form: str) -> dict[str, list[Finding]]:
    path = tmp_path / "policy.yml"
    path.write_text(text)
    by_code: dict[str, list[Finding]] = {}
    for one in findings(path, form):
        by_code.setdefault(one.kind.value, []).append(one)
        assert one.witness is not None
    return by_code


def opened(found: list[Finding]) -> set[str]:
    return {one.message.partition(", but ")[2].split()[0] for one in found}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("abi", "names", "code", "left"),
    [
        ("x86_64", "execve", "exec-twin", {"execveat"}),
        ("x86_64", "openat, open", "open-twin", {"openat2", "creat", "open_by_handle_at"}),
        ("x86_64", "fork, vfork", "process-twin", {"clone", "clone3"}),
        ("x86_64", "ptrace", "memory-twin",
         {"process_vm_readv", "process_vm_writev", "pidfd_getfd"}),
        ("x86_64", "process_vm_writev", "memory-twin", {"ptrace", "process_vm_readv"}),
        ("x86_64", "chmod, fchmod, fchmodat", "file-twin", {"fchmodat2"}),
        ("x86_64", "adjtimex", "clock-twin", {"clock_adjtime"}),
        ("x86_64", "init_module", "module-twin", {"finit_module"}),
        ("x86_64", "unshare", "namespace-twin", {"clone", "clone3"}),
        ("i386", "clock_settime", "time64-twin", {"clock_settime64"}),
        ("aarch64", "connect", "io-uring-way", {"io_uring_setup"}),
        ("x86_64", "mount", "mount-twin",
         {"fsopen", "fsmount", "move_mount", "open_tree", "open_tree_attr", "mount_setattr",
          "umount2"}),
    ],
)  # fmt: skip
def test_a_twin_that_is_left_open(
    tmp_path: Path, form: str, abi: str, names: str, code: str, left: set[str]
) -> None:
    found = lint_text(tmp_path, DENY.format(abi=abi, names=names), form)
    assert opened(found[code]) == left
    for one in found[code]:
        assert one.witness is not None
        assert one.beside is not None
        assert one.witness.ret == ALLOW
        assert one.beside.ret != ALLOW


@pytest.mark.parametrize("form", FORMS)
def test_a_twin_that_is_only_logged_is_open_as_well(tmp_path: Path, form: str) -> None:
    text = DENY.format(abi="x86_64", names="execve") + "- {action: log, names: [execveat]}\n"
    (found,) = lint_text(tmp_path, text, form)["exec-twin"]
    assert found.witness is not None
    assert found.witness.ret == ActionKind.LOG.value


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("refused", "permitted", "code", "severity"),
    [
        ("execve", "execveat", "exec-twin", Severity.NOTE),
        ("connect", "io_uring_setup", "io-uring-way", Severity.WARNING),
    ],
)
def test_an_allowlist_that_names_both_calls_meant_it_where_they_are_alike(
    tmp_path: Path, form: str, refused: str, permitted: str, code: str, severity: Severity
) -> None:
    """A ring does what its name does not show, so nobody may have meant that."""
    text = (
        "default_action: errno\narches: [x86_64]\nsyscalls:\n"
        f"- {{action: errno(EACCES), names: [{refused}]}}\n"
        f"- {{action: allow, names: [exit_group, rt_sigreturn, read, {permitted}]}}\n"
    )
    (found,) = lint_text(tmp_path, text, form)[code]
    assert found.severity is severity


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("abi", "there"), [("x86_64", True), ("i386", False)])
def test_mmap_is_no_door_where_its_arguments_are_in_memory(
    tmp_path: Path, form: str, abi: str, there: bool
) -> None:
    argument = "{argument: 2, operation: BitsSet, value: 4, width: 32}"
    text = (
        f"default_action: allow\narches: [{abi}]\nsyscalls:\n- action: errno\n"
        f"  names_with_args:\n  - {{name: mmap, arguments: [{argument}]}}\n"
    )
    assert ("executable-memory" in lint_text(tmp_path, text, form)) is there


@pytest.mark.parametrize("form", FORMS)
def test_no_finding_where_every_door_is_shut(tmp_path: Path, form: str) -> None:
    names = "execve, execveat, fork, vfork, clone, clone3, unshare"
    assert lint_text(tmp_path, DENY.format(abi="x86_64", names=names), form) == {}


@pytest.mark.parametrize("form", FORMS)
def test_an_allowlist_that_names_one_of_two_calls_is_no_finding(tmp_path: Path, form: str) -> None:
    text = HALF.format(
        abi="x86_64", others="openat, clone3, clone, execve, sendmsg",
        name="ioctl", argument="{argument: 1, operation: Equal, value: 0x5401, width: 32}",
    )  # fmt: skip
    found = lint_text(tmp_path, text, form)
    assert not {code for code in found if code.endswith(("-twin", "-way"))}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("others", "shown"),
    [
        ("mmap", "openat"),
        ("openat", "socket"),
        ("open, socket", "connect"),
        ("openat2, socket, connect", None),
    ],
)
def test_a_ring_does_what_an_allowlist_does_not_name(
    tmp_path: Path, form: str, others: str, shown: str | None
) -> None:
    """No rule can look behind it; and it adds nothing where a call that does the same is named."""
    text = (
        "default_action: errno\narches: [x86_64]\nsyscalls:\n- action: allow\n"
        f"  names: [exit_group, rt_sigreturn, read, {others},\n    io_uring_setup]\n"
    )
    found = lint_text(tmp_path, text, form).get("io-uring-way", [])
    assert [(one.message.split(",")[0], one.severity) for one in found] == (
        [(f"{shown} is refused", Severity.WARNING)] if shown else []
    )
    if form == "policy":  # the rule that permits it: there is none that refuses
        assert [one.position and one.position.line for one in found] == [6] * len(found)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("default", "name"), [("allow", "connect"), ("user_notif", "openat")])
def test_a_ring_passes_by_a_supervisor(tmp_path: Path, form: str, default: str, name: str) -> None:
    text = (
        f"default_action: {default}\narches: [x86_64]\nflags: [new_listener]\nsyscalls:\n"
        f"- {{action: user_notif, names: [{name}]}}\n- {{action: allow, names: [io_uring_setup]}}\n"
        "- {action: errno(ENOSYS), names: [userfaultfd]}\n"
    )
    (found,) = lint_text(tmp_path, text, form)["io-uring-way"]
    assert found.message.startswith(f"{name} is left to a supervisor, but io_uring_setup ")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("other", "bad"), [("open", True), ("creat", True), ("stat", False)])
def test_a_condition_on_one_door_is_none_on_the_other(
    tmp_path: Path, form: str, other: str, bad: bool
) -> None:
    """`openat` only for reading, and another call that writes."""
    argument = "{argument: 2, operation: BitsNotSet, value: 3, width: 32}"
    text = HALF.format(abi="x86_64", others=other, name="openat", argument=argument)
    found = lint_text(tmp_path, text, form)
    assert ("open-twin" in found) is bad


@pytest.mark.parametrize("form", FORMS)
def test_arguments_are_translated(tmp_path: Path, form: str) -> None:
    """A refusal of openat by its flags is looked for in the flags of open."""
    text = """\
default_action: errno
arches: [x86_64]
syscalls:
- action: allow
  names: [exit_group, rt_sigreturn, read]
  names_with_args:
  - {name: openat, arguments: [{argument: 2, operation: BitsNotSet, value: 0x43, width: 32}]}
  - {name: open, arguments: [{argument: 1, operation: BitsNotSet, value: 0x%x, width: 32}]}
"""
    assert "open-twin" not in lint_text(tmp_path, text % 0x43, form)
    (found,) = lint_text(tmp_path, text % 0x42, form)["open-twin"]
    assert found.witness is not None
    assert found.witness.call.args[1] & 0x43 == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("abi", "flags"), [("x86_64", 0), ("s390x", 1)])
def test_a_namespace_that_clone_is_refused(tmp_path: Path, form: str, abi: str, flags: int) -> None:
    text = f"""\
default_action: allow
arches: [{abi}]
syscalls:
- action: errno
  names: [clone3]
  names_with_args:
  - {{name: clone, arguments: [{{argument: {flags}, operation: BitsSet, value: 0x10000000}}]}}
"""
    (found,) = lint_text(tmp_path, text, form)["namespace-twin"]
    assert found.witness is not None
    assert found.witness.call.args[0] & 0x10000000
    also = "  - {name: unshare, arguments: [{argument: 0, operation: BitsSet, value: 0x10000000}]}"
    assert "namespace-twin" not in lint_text(tmp_path, f"{text}{also}\n", form)


@pytest.mark.parametrize("form", FORMS)
def test_threads_alone_are_no_word_on_namespaces(tmp_path: Path, form: str) -> None:
    """Who permits threads only has not refused a namespace in particular."""
    argument = "{argument: 0, operation: BitsSet, value: 0x10000, width: 32}"
    text = HALF.format(abi="x86_64", others="unshare", name="clone", argument=argument)
    found = lint_text(tmp_path, text, form)
    assert not found.keys() & {"namespace-twin", "process-twin"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("bits", "bad"), [("0x10000000", True), ("0", False)])
def test_a_namespace_of_whatever_type(tmp_path: Path, form: str, bits: str, *, bad: bool) -> None:
    """setns(fd, 0) asks for no type; a rule for 0 refuses no type in particular."""
    text = (
        "default_action: allow\narches: [x86_64]\nsyscalls:\n- action: errno\n  names_with_args:\n"
        f"  - {{name: setns, arguments: [{{argument: 1, operation: Equal, value: {bits}}}]}}\n"
    )
    found = lint_text(tmp_path, text, form).get("namespace-twin", [])
    assert [one.witness and one.witness.call.args[1] for one in found] == ([0] if bad else [])


@pytest.mark.parametrize("form", FORMS)
def test_a_request_of_ioctl_beside_another(tmp_path: Path, form: str) -> None:
    text = """\
default_action: allow
arches: [x86_64]
syscalls:
- action: errno
  names_with_args:
  - {name: ioctl, arguments: [{argument: 1, operation: Equal, value: 0x5412, width: 32}]}
"""
    (found,) = lint_text(tmp_path, text, form)["tty-injection"]
    assert found.witness is not None
    assert found.witness.call.args[1] == 0x541C
    more = text + text[text.index("  - {") :].replace("0x5412", "0x541c")
    assert "tty-injection" not in lint_text(tmp_path, more, form)


@pytest.mark.parametrize("form", FORMS)
def test_enosys_leads_to_the_older_call_and_refuses_nothing(tmp_path: Path, form: str) -> None:
    text = DENY.format(abi="x86_64", names="openat2, clone3").replace("errno,", "errno(ENOSYS),")
    assert lint_text(tmp_path, text, form) == {}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "entrance", "number"), [("socket", "socketcall", 1), ("semget", "ipc", 2)]
)
def test_a_call_that_stands_for_others(
    tmp_path: Path, form: str, name: str, entrance: str, number: int
) -> None:
    text = f"""\
default_action: allow
arches: [i386, s390x]
syscalls:
- action: errno
  multiplexed: allow
  names_with_args:
  - {{name: {name}, arguments: [{{argument: 0, operation: Equal, value: 1, width: 32}}]}}
"""
    (found,) = lint_text(tmp_path, text, form)["multiplexed-way"]
    assert opened([found]) == {entrance}
    assert found.witness is not None
    assert found.witness.call.args[0] == number
    mended = text.replace("multiplexed: allow", "multiplexed: errno")
    assert "multiplexed-way" not in lint_text(tmp_path, mended, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bit", ["0o4000", "0o400"])
def test_new_files_of_a_mode_that_may_not_be_set(tmp_path: Path, form: str, bit: str) -> None:
    """Who refuses chmod for setuid alone refuses it to new files, too; other modes say nothing."""
    text = f"""\
default_action: allow
arches: [x86_64]
syscalls:
- action: errno
  names_with_args:
  - {{name: chmod, arguments: [{{argument: 1, operation: BitsSet, value: {bit}, width: 32}}]}}
  - {{name: fchmod, arguments: [{{argument: 1, operation: BitsSet, value: {bit}, width: 32}}]}}
  - {{name: fchmodat, arguments: [{{argument: 2, operation: BitsSet, value: {bit}, width: 32}}]}}
  - {{name: fchmodat2, arguments: [{{argument: 2, operation: BitsSet, value: {bit}, width: 32}}]}}
"""
    found = lint_text(tmp_path, text, form)
    new = {"open", "openat", "creat", "mknod", "mknodat"}
    assert opened(found.get("file-twin", [])) == (new if bit == "0o4000" else set())
    for one in found.get("file-twin", []):
        assert one.witness is not None
        assert 0o4000 in {arg & 0o4000 for arg in one.witness.call.args}


@pytest.mark.parametrize("form", FORMS)
def test_the_kernel_of_another_abi_serves_this_one(tmp_path: Path, form: str) -> None:
    """A filter for i386 confines a 64-bit program as well, unless that is refused as foreign."""
    text = "bad_arch_action: allow\n" + DENY.format(abi="i386", names="acct")
    found = lint_text(tmp_path, text, form)["foreign-abi"]
    assert {one.abis for one in found} == {("x86_64",), ("x32",)}
    assert "foreign-abi" not in lint_text(tmp_path, DENY.format(abi="i386", names="acct"), form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("abi", "flags"), [("x86_64", 0), ("s390x", 1)])
def test_a_finding_counts_arguments_as_the_abi_does(
    tmp_path: Path, form: str, abi: str, flags: int
) -> None:
    found = lint_text(tmp_path, DENY.format(abi=abi, names="unshare, clone3"), form)
    said = f", but clone with argument {flags} & CLONE_NEWUSER is permitted"
    assert [one for one in found["namespace-twin"] if said in one.message]
