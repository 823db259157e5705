"""``record --merge --audit``: what audit records say that a policy lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command import inside
from recorded_policies import ALLOW, EPERM, TABLES, X86_64, answer, load

if TYPE_CHECKING:
    from pathlib import Path

    from command import Result

NUMBERS = TABLES.tables["x86_64"].numbers
LOGGED, KILLED, REFUSED = 0x7FFC0000, 0x80000000, 0x00050000
POLICY = """\
description: A worker.
arches: [x86_64]
default_action: errno(EPERM)
syscalls:
- {action: errno(ENOSYS), names: [clone3]}
- {action: allow, names: ['@memory', '@own-descriptors', '@waiting', '@files-read', '@end']}
- {action: allow, names: [socket], when: family == AF_UNIX}
"""


def record(
    call: str | int, code: int = LOGGED, exe: str = "/usr/bin/worker", **more: object
) -> str:
    nr = NUMBERS[call] if isinstance(call, str) else call
    serial, arch = more.get("serial", nr), more.get("arch", "c000003e")
    return (
        f"audit: type=1326 audit(1700000000.123:{serial}): auid=1000 uid=1000 gid=1000 ses=3 "
        f'pid=4711 comm="thread-1" exe="{exe}" sig=0 arch={arch} syscall={nr} compat=0 '
        f"ip=0x7f0000001234 code={code:#x}\n"
    )


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "worker.yml").write_text(POLICY)
    return tmp_path


def merge(here: Path, *lines: str, options: tuple[str, ...] = ()) -> Result:
    (here / "a.log").write_text("".join(lines))
    words = ("record", "--merge", "worker.yml", "--audit", "a.log", "-o", "worker.yml", *options)
    return inside(*words, cwd=here)


def permits(here: Path, call: str, *args: int) -> bool:
    found = answer(load(here / "worker.yml"), call, *args)
    assert found in {ALLOW, EPERM}
    return found == ALLOW


def test_a_call_brings_its_kind(here: Path) -> None:
    assert not permits(here, "connect")
    done = merge(here, record("connect", serial=1), record("connect", serial=2), "else\n")
    assert done.code == 0
    assert done.err == (
        "note: added by the records of worker: connect; read what that permits, as records have no "
        "arguments\nwrote worker.yml\n"
    )
    assert permits(here, "connect")
    assert permits(here, "read")
    assert not permits(here, "listen")
    text = (here / "worker.yml").read_text()
    assert "['@connect'] # in the audit record of worker, 2 times" in text


def test_the_same_records_add_nothing_twice(here: Path) -> None:
    """Sockets of families that are not ordinary are left to the reader."""
    internet, netlink = 2, 16
    for count in range(2):
        done = merge(here, record("socket"))
        assert permits(here, "socket", internet, 1)
        assert not permits(here, "socket", netlink, 1)
        assert ("permit yours by a rule" in done.err) is bool(count)
    text = (here / "worker.yml").read_text()
    merge(here, record("socket"))
    assert (here / "worker.yml").read_text() == text


def test_what_is_permitted_already_was_not_refused(here: Path) -> None:
    """Files are read already, so that openat was to write."""
    write = 1
    assert not permits(here, "openat", 0, 0, write)
    assert merge(here, record("openat")).code == 0
    assert permits(here, "openat", 0, 0, write)
    text = (here / "worker.yml").read_text()
    assert "names: ['@files-write']" in text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([record("clone3")], "a kernel that lacks it"),
        ([record("mkdir", KILLED)], "another filter's"),
        ([record("read")], "it is permitted"),
        (["nothing\n"], "no record"),
    ],
)
def test_nothing_is_added_for(here: Path, lines: list[str], words: str) -> None:
    done = merge(here, *lines)
    assert (done.code, "none of a call that the policy lacks" in done.err) == (0, True), words
    assert (here / "worker.yml").read_text() == POLICY


def test_refusals_of_the_policy_itself_count(here: Path) -> None:
    assert merge(here, record("connect", REFUSED | 1)).code == 0
    assert permits(here, "connect")


def test_records_of_several_programs_have_to_be_told_apart(here: Path) -> None:
    lines = record("connect"), record("mkdir", exe="/opt/other"), record("read", exe="/opt/third")
    done = merge(here, *lines)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "a.log: records of several programs: worker (1 record), other (1 record); say with "
        "--program which count\n"
    )
    assert (here / "worker.yml").read_text() == POLICY
    done = merge(here, *lines, options=("--program", "nobody"))
    assert (done.code, "no record of nobody; there are those of" in done.err) == (2, True)
    for name in ("worker", "/usr/bin/worker"):
        (here / "worker.yml").write_text(POLICY)
        assert merge(here, *lines, options=("--program", name)).code == 0
        assert permits(here, "connect")
        assert not permits(here, "mkdir")


def test_other_abis_and_nameless_numbers_are_noted(here: Path) -> None:
    done = merge(here, record(999), record(39, arch="40000003"), record("connect"))
    assert done.code == 0
    for what in ("number 999 on x86_64", "mkdir on i386"):
        assert f"note: {what} is not added: the policy is not for it" in done.err
    assert load(here / "worker.yml").compat_arches == ()
    assert load(here / "worker.yml").arches == (X86_64,)


def test_what_is_missing_in_the_log_is_said(here: Path) -> None:
    lost = "audit: kauditd_printk_skb: 7 callbacks suppressed\n"
    done = merge(here, record("connect"), lost, "audit: type=1326 audit(1.1:1): arch=c000003e\n")
    assert "note: 7 records more were lost, as a.log says itself" in done.err
    assert "note: not understood: a.log:3: the record has no arch= or no syscall=" in done.err


def test_exactly_the_calls_of_records(here: Path) -> None:
    allowing = POLICY.replace("errno(ENOSYS), names: [clone3]", "allow, names: [fork]")
    (here / "worker.yml").write_text(allowing)
    assert merge(here, record("mkdir"), options=("--exact",)).code == 0
    assert permits(here, "mkdir")
    assert not permits(here, "rmdir")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--audit", "a.log", "-o", "x.yml"), "--audit adds calls from audit records"),
        (("--audit", "a.log", "--merge", "worker.yml", "-o", "x.yml", "--", "true"), "no command"),
        (("--program", "x", "--merge", "worker.yml", "-o", "x.yml"), "--program is for --audit"),
        (("--audit", "no.log", "--merge", "worker.yml", "-o", "x.yml"), "cannot read no.log"),
    ],
)
def test_it_is_for_merging(here: Path, words: tuple[str, ...], says: str) -> None:
    done = inside("record", *words, cwd=here)
    assert (done.code, says in done.err) == (2, True)
    assert not (here / "x.yml").exists()


@pytest.mark.parametrize("options", [(), ("--default-action", "trap")])
def test_other_calls_are_answered_as_before(here: Path, options: tuple[str, ...]) -> None:
    (here / "worker.yml").write_text(POLICY.replace("errno(EPERM)", "kill_process"))
    assert merge(here, record("connect"), options=options).code == 0
    default = load(here / "worker.yml").default_action
    assert str(default) == ("trap" if options else "kill_process")


OFFERS = """\
# Not seen, but the code of worker can. Take in what yours does: remove the # before it.
#- action: allow
#  names: ['@connect'] # a way out (connect)
#- action: allow
#  names: ['@listen'] # a way in (bind)
"""


def test_what_a_recording_offered_stays_until_it_is_permitted(here: Path) -> None:
    (here / "worker.yml").write_text(POLICY + OFFERS)
    assert merge(here, record("connect")).code == 0
    heading, *_, action, names = OFFERS.splitlines()
    text = (here / "worker.yml").read_text()
    assert text.endswith(f"\n{heading}\n{action}\n{names}\n")
    assert text.count("@connect") == 1
    assert merge(here, record("listen", serial=2)).code == 0
    assert "Not seen" not in (here / "worker.yml").read_text()
    assert permits(here, "bind")
