"""Profiles: what strace writes, what minijail keeps, and every way to get them wrong."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from corpus import OURS, SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from seccompgen.core.errors import InputError
from seccompgen.pipeline.build import shipped_tables
from seccompgen.policy.profile import read_profile, unknown_calls

if TYPE_CHECKING:
    from pathlib import Path

TABLES = shipped_tables()

STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 66,75    0,003708           0      3922           read
 33.25    0.002847           0      2685        12 write
  0.00    0.000000           0         1         1 access
------ ----------- ----------- --------- --------- ----------------
100.00    0.005555           0      6608        13 total
"""
# strace -U name,errors,calls and -U max-time,name,min-time,calls
NAME_FIRST = """\
syscall             errors     calls
---------------- --------- ---------
openat                  13        34
mmap                              35
---------------- --------- ---------
total                   13        69
"""
NAME_AMID = """\
 longest syscall          shortest     calls
-------- ---------------- -------- ---------
0.000055 openat           0.000000        35
0.000026 mmap             0.000000        36
-------- ---------------- -------- ---------
0.000055 total            0.000000        71
"""


def counts(directory: Path, content: str) -> dict[str, int]:
    path = directory / "profile"
    path.write_text(content)
    return dict(read_profile(path).counts)


def errors(directory: Path, content: bytes) -> list[str]:
    path = directory / "p"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_profile(path)
    assert all(one.kind for one in caught.value.diagnostics)
    return [str(one).removeprefix(f"{directory}/") for one in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (STRACE, {"read": 3922, "write": 2685, "access": 1}),
        (NAME_FIRST, {"openat": 34, "mmap": 35}),
        (NAME_AMID, {"openat": 35, "mmap": 36}),
        (STRACE.replace("\n", "\r\n"), {"read": 3922, "write": 2685, "access": 1}),
        ("\ufeff" + NAME_FIRST, {"openat": 34, "mmap": 35}),
    ],
)
def test_columns_of_strace_are_found_by_their_titles(
    tmp_path: Path, table: str, expected: dict[str, int]
) -> None:
    assert counts(tmp_path, table) == expected


def test_tables_in_one_file_add_up(tmp_path: Path) -> None:
    chatter = "strace: Process 17 attached\n"
    both = f"{chatter}{STRACE}System call usage summary for 32 bit mode:\n{STRACE}\n{NAME_FIRST}"
    expected = {"read": 7844, "write": 5370, "access": 2, "openat": 34, "mmap": 35}
    assert counts(tmp_path, both) == expected


@pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace")
@pytest.mark.parametrize(
    "options", [[], ["-w"], ["-U", "calls,errors"], ["-U", "name,max-time,calls,time-percent"]]
)
def test_what_strace_itself_writes_is_read(tmp_path: Path, options: list[str]) -> None:
    path = tmp_path / "trace"
    command = ["strace", "-c", "-f", *options, "-o", str(path), "sh", "-c", "ls /nowhere; :"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if not path.exists() or "ptrace" in run.stderr:
        pytest.skip(f"strace may not trace here: {run.stderr}")
    profile = read_profile(path)
    assert profile.counts["execve"] >= 1
    assert "total" not in profile.counts
    assert not [note for note in unknown_calls(profile, TABLES) if "'openat'" in note.message]


def test_lines_of_counts_are_read(tmp_path: Path) -> None:
    text = "# made by hand\n\nread: 12\n  write:3 # often\nexit_group : 0\n"
    assert counts(tmp_path, text) == {"read": 12, "write": 3, "exit_group": 0}


def test_words_of_a_comment_make_no_table(tmp_path: Path) -> None:
    assert counts(tmp_path, "# errors calls syscall\nread: 1\n") == {"read": 1}


FREQUENCIES = {
    OURS / "vm-common.frequency": (11, {"ioctl": 31008, "exit_group": 1}),
    SHARED / "crosvm/x86_64/common_device.frequency": (45, {"ioctl": 754417, "dup": 2}),
}
"""The number of counts in each file, and some of them."""


@pytest.mark.parametrize("path", [path for path in FREQUENCIES if path.is_file()])
def test_a_frequency_file_of_minijail_is_read(path: Path) -> None:
    profile = read_profile(path)
    number, some = FREQUENCIES[path]
    assert len(profile.counts) == number
    assert profile.counts.items() >= some.items()
    assert (profile.file, profile.sha256) == (str(path), sha256(path.read_bytes()).hexdigest())
    assert unknown_calls(profile, TABLES) == ()


def test_all_errors_of_a_file_of_counts_are_told(tmp_path: Path) -> None:
    content = b"read: 1\n\nwrite: -1\nread: 2\n  close 3\nopen: 1.5\n9p: 1\nmmap:\nbrk: 0x10\n"
    assert errors(tmp_path, content) == [
        "p:3:8: '-1' is no count: write a whole number from 0 on, of at most 19 digits",
        "p:4:1: 'read' is counted twice, first on line 1: add the two up",
        "p:5:3: not a line 'name: count'",
        "p:6:7: '1.5' is no count: write a whole number from 0 on, of at most 19 digits",
        "p:7:1: '9p' is not the name of a system call",
        "p:8:6: '' is no count: write a whole number from 0 on, of at most 19 digits",
        "p:9:6: '0x10' is no count: write a whole number from 0 on, of at most 19 digits",
    ]


def test_all_errors_of_a_table_are_told(tmp_path: Path) -> None:
    content = STRACE.replace("3922", "-392").replace("         1         1 acc", " 1 2 3 acc")
    content = f"hello\nworld\n\n{content}bye\n"
    assert errors(tmp_path, content.encode()) == [
        "p:1:1: no part of a table of strace -c: remove it, or write the table to a file of its "
        "own with strace -o",
        "p:6:37: '-392' is no count: write a whole number from 0 on, of at most 19 digits",
        "p:8:1: 7 words under 6 titles: the line is cut off or long",
        "p:11:1: no part of a table of strace -c: remove it, or write the table to a file of its "
        "own with strace -o",
    ]


def test_a_table_without_counts_is_refused(tmp_path: Path) -> None:
    content = "% time syscall\n------ ----------------\n100.00 read\n"
    assert errors(tmp_path, content.encode()) == [
        "p:1:1: the table has no column 'calls': add it to strace's -U"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "p:1:1: no calls are counted here"),
        (b"# nothing\n", "p:1:1: no calls are counted here"),
        (b"read: 0\n", "p:1:1: no calls are counted here"),
        (STRACE.splitlines()[0].encode(), "p:1:1: no calls are counted here"),
        (b"read: 1\nwr\xff: 1\n", "p:2:3: not UTF-8 text"),
        (b"read: 99999999999999999999\n", "p:1:7: '99999999999999999999' is no count"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (found,) = errors(tmp_path, content)
    assert found.startswith(message)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match=f"cannot read {path}: "):
            read_profile(path)
    (tmp_path / "p").write_bytes(b"#" * ((8 << 20) + 1))
    with pytest.raises(InputError, match=r"cannot read .*/p: larger than 8 MiB$"):
        read_profile(tmp_path / "p")
    # It would be a line of its own in a generated module.
    with pytest.raises(InputError, match="unprintable"):
        read_profile(tmp_path / "a\nb")


def test_names_that_no_abi_has_are_notes_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_text("read: 1\nopennat: 2\nosf_getsysinfo: 3\n# \nxyzzy: 4\n")
    assert list(map(str, unknown_calls(read_profile(path), TABLES))) == [
        f"{path}:2:1: no ABI of Linux {TABLES.tag} has 'opennat' (did you mean 'openat'?): "
        "its count is not used",
        f"{path}:5:1: no ABI of Linux {TABLES.tag} has 'xyzzy': its count is not used",
    ]


PIECES = st.sampled_from([*STRACE.splitlines(), *NAME_FIRST.splitlines(), "read: 1", "a:b", ""])


@pytest.mark.long("reads many policies")
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.one_of(st.binary(max_size=60), st.lists(PIECES).map("\n".join).map(str.encode)))
def test_whatever_is_in_a_file_it_is_counts_or_errors(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary"
    path.write_bytes(content)
    try:
        profile = read_profile(path)
    except InputError as error:
        assert all(str(one).startswith(f"{path}:") for one in error.diagnostics)
    else:
        assert any(profile.counts.values())
