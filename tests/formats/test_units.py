"""systemd's units and Android's lists: read, wrong, and units written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError, SeccompgenError
from seccompgen.core.foreign import Reading
from seccompgen.core.model import ActionKind
from seccompgen.core.multiplexed import MULTIPLEXED, entrance
from seccompgen.core.problems import Problem
from seccompgen.formats import load_policy, translate
from seccompgen.formats.android import reader as android
from seccompgen.formats.systemd import reader as systemd
from seccompgen.formats.systemd.groups import systemd_groups
from seccompgen.pipeline.build import build_policies, shipped_tables
from seccompgen.pipeline.files import filter_files
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

TABLES = shipped_tables()
DATA = Path(__file__).parents[1] / "data" / "formats"
WIDE = 1 | 1 << 32
"""A family that the kernel takes for AF_UNIX."""
ALLOW, KILL = ActionKind.ALLOW.value, ActionKind.KILL_PROCESS.value
ERRNO, LOG, TRAP = ActionKind.ERRNO.value, ActionKind.LOG.value, ActionKind.TRAP.value


def answers(path: Path, reading: Reading, abi: str, *calls: str) -> list[int]:
    """Return what the policy at ``path`` answers calls of which rules compare no argument."""
    policy, _ = load_policy(path, TABLES, reading)
    found = []
    for call in calls:
        rules = [r for r in policy.rules if r.name == call and r.applies_to(ABIS[abi])]
        action = rules[0].action if rules else policy.default_action
        found.append(action.ret(ABIS[abi]))
    return found


def unit_answers(directory: Path, lines: str, *calls: str) -> list[int]:
    path = directory / "a.service"
    path.write_text(f"[Service]\n{lines}\n")
    return answers(path, Reading(), "x86_64", *calls)


def messages(directory: Path, text: str, name: str = "a.service") -> list[str]:
    path = directory / name
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_policy(path, TABLES)
    return [str(one).replace(f"{directory}/", "") for one in caught.value.diagnostics]


def test_a_unit_with_the_whole_grammar() -> None:
    calls = (
        "read",
        "userfaultfd",
        "ptrace",
        "kcmp",
        "swapon",
        "setuid",
        "openat",
        "syslog",
        "mount",
    )
    assert answers(DATA / "systemd" / "web.service", Reading(), "x86_64", *calls) == [
        ALLOW, ALLOW, ERRNO | 38, KILL, ERRNO | 13, ERRNO | 1, LOG, ERRNO | 1, ERRNO | 1,
    ]  # fmt: skip


def test_an_empty_assignment_starts_anew_and_later_lists_take_back() -> None:
    calls = ("read", "ptrace", "mount", "reboot", "kcmp", "kexec_load")
    assert answers(DATA / "systemd" / "deny.conf", Reading(), "x86_64", *calls) == [
        ALLOW, KILL, ERRNO | 13, KILL, ALLOW, KILL,
    ]  # fmt: skip


def test_the_first_list_decides_the_default(tmp_path: Path) -> None:
    filters = "SystemCallFilter="
    assert unit_answers(tmp_path, f"{filters}read\n{filters}~read", "read", "exit") == [KILL, ALLOW]
    assert unit_answers(tmp_path, f"{filters}~read\n{filters}write", "read", "x") == [KILL, ALLOW]


def test_memory_that_the_kernel_itself_refuses_is_told_or_read(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("[Service]\nSystemCallFilter=~ptrace\nMemoryDenyWriteExecute=yes\n")
    for reading in (Reading(), Reading(kernel=(6, 3))):
        policy, notes = load_policy(path, TABLES, reading)
        assert [one.position.line for one in notes if one.position] == [3]
        assert "mprotect" not in {rule.name for rule in policy.rules}
    for reading in (Reading(kernel=(6, 2)), Reading(systemd=252)):
        policy, notes = load_policy(path, TABLES, reading)
        assert notes == ()
        assert "mprotect" in {rule.name for rule in policy.rules}


NO_FAMILY, NO_RIGHT = ERRNO | 97, ERRNO | 1
WRITTEN = "SystemCallFilter=~ptrace\nMemoryDenyWriteExecute=yes"


@pytest.mark.parametrize(
    ("line", "call", "arguments", "found"),
    [
        ("SystemCallFilter=read", "write", (0, 0, 0), (KILL, ALLOW, ALLOW)),
        ("RestrictRealtime=yes", "sched_setattr", (0, 0, 0), (ALLOW, ALLOW, NO_RIGHT)),
        ("RestrictAddressFamilies=~AF_UNIX", "socket", (WIDE, 0, 0), (ALLOW, ALLOW, NO_FAMILY)),
        ("RestrictNamespaces=~net", "unshare", (0x80, 0, 0), (NO_RIGHT, NO_RIGHT, ALLOW)),
        ("RestrictNamespaces=~net", "setns", (3, 1 << 32, 0), (ALLOW, ALLOW, NO_RIGHT)),
        (WRITTEN, "mprotect", (0, 0, 4), (NO_RIGHT, ALLOW, ALLOW)),
    ],
)
def test_releases_of_systemd_differ(
    tmp_path: Path, line: str, call: str, arguments: tuple[int, int, int], found: tuple[int, ...]
) -> None:
    path = tmp_path / "a.service"
    path.write_text(f"[Service]\n{line}\n")
    abi = ABIS["x86_64"]
    number = TABLES.tables["x86_64"].numbers[call]
    one, two, three = arguments
    asked = Call(number, abi.audit_arch, (one, two, three, 0, 0, 0))
    for release, expected in zip((252, 257, 262), found, strict=True):
        policy, _ = load_policy(path, TABLES, Reading(systemd=release))
        assert meaning(policy, abi, TABLES).answer(asked) == expected, release


@pytest.mark.parametrize(
    ("lines", "refused"),
    [
        ("RestrictAddressFamilies=AF_UNIX", [0, 2, WIDE]),
        ("RestrictAddressFamilies=AF_UNIX\nRestrictAddressFamilies=~AF_UNIX", [0, 1, 2, WIDE]),
        ("RestrictAddressFamilies=none", [0, 1, 2, WIDE]),
        ("RestrictAddressFamilies=none\nRestrictAddressFamilies=", []),
        ("RestrictAddressFamilies=~AF_UNIX AF_INET\nRestrictAddressFamilies=AF_INET", [1]),
        ("RestrictAddressFamilies=~AF_UNIX\nSystemCallFilter=~socket:EACCES", [0, 1, 2, WIDE]),
        ("RestrictAddressFamilies=~AF_UNIX\nSystemCallFilter=read", [0, 1, 2, WIDE]),
    ],
)
def test_address_families_are_those_that_assignments_leave(
    tmp_path: Path, lines: str, refused: list[int]
) -> None:
    path = tmp_path / "a.service"
    path.write_text(f"[Service]\nProtectClock=yes\nSystemCallErrorNumber=EPERM\n{lines}\n")
    policy, _ = load_policy(path, TABLES)
    of_policy = meaning(policy, ABIS["x86_64"], TABLES)
    audit_arch, number = ABIS["x86_64"].audit_arch, TABLES.tables["x86_64"].numbers["socket"]
    found = [
        family
        for family in (0, 1, 2, WIDE)
        if of_policy.answer(Call(number, audit_arch, (family, 0, 0, 0, 0, 0))) != ALLOW
    ]
    assert found == refused


def test_wrong_words_of_restrictions_are_told(tmp_path: Path) -> None:
    text = "[Service]\nRestrictAddressFamilies=AF_UNX\nRestrictNamespaces=usr\n"
    text += "RestrictRealtime=maybe\n"
    found = messages(tmp_path, text)
    assert [one.split(": ")[0] for one in found] == [
        "a.service:2:25", "a.service:3:20", "a.service:4:18",
    ]  # fmt: skip
    assert "AF_UNIX" in found[0]
    assert "user" in found[1]


def test_architectures_are_those_of_the_kernel_or_those_named(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("[Service]\nSystemCallFilter=~ptrace\n")
    policy, _ = load_policy(path, TABLES)
    assert [one.name for one in policy.compat_of(ABIS["x86_64"])] == ["i386", "x32"]
    assert policy.bad_arch_action.kind is ActionKind.ALLOW
    path.write_text("[Service]\nSystemCallArchitectures=native\nSystemCallFilter=~ptrace\n")
    policy, _ = load_policy(path, TABLES)
    assert policy.compat_of(ABIS["x86_64"]) == ()
    assert policy.bad_arch_action.kind is ActionKind.KILL_THREAD
    path.write_text("[Service]\nSystemCallArchitectures=native arm\nSystemCallErrorNumber=EPERM\n")
    policy, _ = load_policy(path, TABLES, Reading(abis=("aarch64",)))
    assert [one.name for one in policy.compat_of(ABIS["aarch64"])] == ["arm"]
    assert policy.bad_arch_action.kind is ActionKind.KILL_THREAD


def test_a_release_has_its_own_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("[Service]\nSystemCallFilter=@sandbox\n")
    load_policy(path, TABLES, Reading(systemd=257))
    with pytest.raises(InputError, match="no group '@sandbox'"):
        load_policy(path, TABLES, Reading(systemd=252))
    with pytest.raises(InputError, match="systemd 3 are not known; known: 252, 257"):
        load_policy(path, TABLES, Reading(systemd=3))


def test_all_errors_of_a_unit_at_once(tmp_path: Path) -> None:
    text = "[Service]\nSystemCallFilter=raed @basic-oi\\\n  write:EPERM\nnonsense\n"
    text += "SystemCallErrorNumber=ENOTHING\nSystemCallArchitectures=x86_64\nProtectClock=maybe\n"
    found = messages(tmp_path, text)
    assert [one.split(": ")[0] for one in found] == [
        "a.service:4:1", "a.service:2:18", "a.service:2:23", "a.service:3:3", "a.service:5:23",
        "a.service:6:25", "a.service:7:14",
    ]  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["[Service]", "SystemCallFilter=", "~", "@basic-io", "read", ":",
    "EPERM", "\n", "\\\n", " ", "native", "SystemCallArchitectures=", "int f(int) all", "#", "\x00",
    "SystemCallLog=", "!arm", "kill", "é"]), max_size=30).map("".join))  # fmt: skip
@example("[Service]\nSystemCallFilter=~")
@example("[Service]\nSystemCallFilter=\\")
def test_no_text_gives_a_traceback(text: str) -> None:
    for reader in (systemd, android):
        try:
            draft = reader.read(text, "a.conf", Reading(), TABLES)
            load_policy(draft.document(), TABLES)
        except SeccompgenError as error:
            assert all(one.kind and one.position for one in error.diagnostics)


POLICY = """\
arches: [x86_64]
compat_arches: [i386, x32]
default_action: {default}
bad_arch_action: kill_thread
unknown_action: {unknown}
syscalls:
- {{action: '{unknown}', names: [{new}], optional: true}}
- {{action: errno(ENOSYS), names: [clone3]}}
- {{action: log, names: [openat]}}
- {{action: {action}, names: [read, write, execve, exit_group]}}
- {{action: kill_process, names: [ptrace]}}
- action: '{default}'
  arches: [i386]
  names_with_args:
  - {{name: socketcall, when: 'u32(arg0) in {{{numbers[socketcall]}}}'}}
  - {{name: ipc, when: 'u32(arg0) in {{{numbers[ipc]}}}'}}
- {{action: '{unknown}', names: [socketcall, ipc], optional: true}}
"""


@pytest.mark.few(1, "reads many policies")
@pytest.mark.parametrize(
    ("default", "action"),
    [("errno(EACCES)", "allow"), ("allow", "allow"), ("kill_process", "allow")],
)
def test_a_unit_that_we_write_is_the_policy(tmp_path: Path, default: str, action: str) -> None:
    path = tmp_path / "p.yml"
    path.write_text(
        POLICY.format(
            default=default,
            action=action,
            unknown="allow" if default == "allow" else "errno(ENOSYS)",
            new=", ".join(
                sorted(
                    set().union(*(t.numbers for t in TABLES.tables.values()))
                    - (systemd_groups(None)["known"] & TABLES.tables["x86_64"].numbers.keys())
                    - MULTIPLEXED.keys()
                )
            ),
            numbers={
                name: ", ".join(str((entrance(call) or ("", 0))[1]) for call in listed.split())
                for name, listed in MULTIPLEXED.items()
            },
        )
    )
    built = build_policies([path], TABLES)
    files = filter_files(built, TABLES, tmp_path, "systemd")
    assert [one.name for one in files] == ["p.conf"]
    (content,) = files.values()
    assert translate(content, "p.conf", Reading(), TABLES) is not None


def test_what_a_unit_cannot_say(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text(
        "arches: [x86_64]\ndefault_action: trap\nsyscalls:\n"
        "- action: allow\n  names: [read]\n  when: fd == 1\n"
    )
    built = build_policies([path], TABLES)
    with pytest.raises(InputError) as caught:
        filter_files(built, TABLES, tmp_path, "systemd")
    assert {one.position.line for one in caught.value.diagnostics if one.position} >= {2, 5}


def test_android_takes_blocked_calls_away_and_adds_allowed_ones() -> None:
    path, app = DATA / "android" / "SYSCALLS.TXT", Reading(thread="app")
    calls = ("read", "reboot", "swapon", "clone3", "chown32", "exit_group", "socketcall", "kill")
    assert answers(path, app, "i386", *calls) == [
        ALLOW, TRAP, TRAP, ALLOW, ALLOW, ALLOW, ALLOW, TRAP,
    ]  # fmt: skip
    assert answers(path, Reading(thread="system"), "x86_64", "reboot", "kill") == [ALLOW, ALLOW]
    draft = translate(path.read_bytes(), str(path), app, TABLES)
    assert draft is not None
    assert draft.profile == {"read": 3, "write": 2, "exit_group": 1}


def test_android_files_of_any_year_are_read(tmp_path: Path) -> None:
    """Pointers to functions, calls of arm's own, MIPS, and lists by their older names."""
    (tmp_path / "SYSCALLS.TXT").write_text(
        "int  cacheflush:__ARM_NR_cacheflush(long start, long end, long flags)  arm\n"
        "int  getrlimit(int, struct rlimit*)  mips\n"
        "uid_t getuid:getuid()  arm64,mips,mips64,x86_64\n"
        "int\tsetgid:setgid32(gid_t)\tarm,x86\n"
    )
    allowed = "int\tclone(int (*)(void*), void*, int, void*, ...) all\n"
    (tmp_path / "SECCOMP_WHITELIST_COMMON.TXT").write_text(allowed)
    (tmp_path / "SECCOMP_BLACKLIST_COMMON.TXT").write_text("int setgid:setgid32(gid_t) arm,x86\n")
    path = tmp_path / "SYSCALLS.TXT"
    calls = ("cacheflush", "clone", "setgid32", "getrlimit")
    assert answers(path, Reading(), "arm", *calls[:3]) == [ALLOW, ALLOW, TRAP]
    assert answers(path, Reading(), "x86_64", "clone", "getuid", "getrlimit") == [
        ALLOW, ALLOW, TRAP,
    ]  # fmt: skip


def test_calls_of_other_abis_are_trapped_on_android() -> None:
    policy, _ = load_policy(DATA / "android" / "SYSCALLS.TXT", TABLES, Reading(thread="app"))
    assert policy.bad_arch_action.kind is policy.default_action.kind is ActionKind.TRAP


def test_what_android_blocks_where_nothing_allows_it_is_told(tmp_path: Path) -> None:
    """The list may be meant for another line, whose call then stays allowed."""
    (tmp_path / "SECCOMP_BLOCKLIST_COMMON.TXT").write_text("int swapon(const char*, int) all\n")
    text = "int read(int, void*, int) all\nint swapon(const char*, int) arm,arm64\n"
    found = messages(tmp_path, text, "SYSCALLS.TXT")
    assert sorted(one.partition("blocked on ")[2].partition(",")[0] for one in found) == [
        "riscv64", "x86", "x86_64",
    ]  # fmt: skip


def test_all_errors_of_android_at_once(tmp_path: Path) -> None:
    text = "int read(int) all\nint raed(int) lp64\nint write(int) mipz\nnot a line\n"
    assert [one.split(": ")[0] for one in messages(tmp_path, text, "SYSCALLS.TXT")] == [
        "SYSCALLS.TXT:3:16", "SYSCALLS.TXT:4:1", "SYSCALLS.TXT:2:1",
    ]  # fmt: skip


def test_what_systemd_makes_of_socketcall_is_refused_if_it_is_not_the_policy(
    tmp_path: Path,
) -> None:
    path = tmp_path / "p.yml"
    path.write_text(
        "arches: [x86_64]\ncompat_arches: [i386, x32]\ndefault_action: errno(EACCES)\n"
        "bad_arch_action: kill_thread\nunknown_action: errno(ENOSYS)\n"
        "syscalls: [{action: allow, names: [read, write, execve]}]\n"
    )
    with pytest.raises(InputError) as caught:
        filter_files(build_policies([path], TABLES), TABLES, tmp_path, "systemd")
    assert {one.kind for one in caught.value.diagnostics} == {Problem.NOT_IN_UNIT}
