"""The table of companions: what its file says, and what it is asked."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from seccompgen.core.errors import InputError
from seccompgen.lint import companions as lint_companions
from seccompgen.lint.companions import (
    LOCK_NAME,
    TABLE_NAME,
    Companion,
    Fallback,
    LibraryRelease,
    Retry,
    read,
    shipped_companions,
)

from companions.table_files import render

_RELEASES = tuple(
    LibraryRelease("libc", release, bases, (f"suite amd64 libc {release} {'0' * 64}",))
    for release, bases in (
        ("1.9", ("base:1",)),
        ("1.10", ("base:2", "base:3")),
        ("2.0", ("base:4",)),
    )
)
_CLONE3 = Fallback((Retry(("ENOSYS",), "clone"), Retry(("any",), "exit")), known=False)
_ROWS = (
    Companion("libc", ("x86_64",), ("start",), "clone", "", None, ("1.9", "1.10", "2.0")),
    Companion("libc", ("x86_64",), ("start",), "clone3", "", _CLONE3, ("1.10", "2.0")),
    Companion("libc", ("x86_64",), ("start",), "madvise", "behavior=MADV_FREE", None, ("1.10",)),
    Companion("libc", ("x86_64",), ("start",), "uname", "", Fallback(), ("1.9", "2.0")),
    Companion("libc", ("i386", "x86_64"), ("newer",), "stat", "", Fallback(), ("2.0",)),
)
_TEXT = """\
library,abis,functions / ,call,constant,fallback,releases
libc,i386 x86_64,newer
,stat,,none,2.0..
libc,x86_64,start
,clone,,,1.9..
,clone3,,ENOSYS>clone;any>exit;unknown,1.10..
,madvise,behavior=MADV_FREE,,1.10
,uname,,none,1.9 2.0..
"""


def _files(text: str = _TEXT) -> tuple[bytes, bytes]:
    table = text.encode()
    lock = render(_ROWS, _RELEASES)[LOCK_NAME].decode()
    named = lock.splitlines()[1]
    return table, lock.replace(named, f'sha256 = "{hashlib.sha256(table).hexdigest()}"').encode()


def test_rows_are_written_by_function_with_ranges_of_releases() -> None:
    assert render(reversed(_ROWS), _RELEASES)[TABLE_NAME].decode() == _TEXT


def test_what_is_read_is_what_was_written() -> None:
    found = read(*_files(), Path("there"))
    assert sorted(found.rows) == sorted(_ROWS)
    assert found.releases == _RELEASES
    assert found.bases == ("base:1", "base:2", "base:3", "base:4")
    assert found.base("base:3") == {"libc": "1.10"}
    assert found.base("base:9") == {}


def test_a_change_has_what_a_function_gained_and_lost() -> None:
    found = read(*_files(), Path("there"))
    (change,) = found.changes("libc", "1.9", "1.10", "x86_64")
    assert change.functions == ("start",)
    assert [one.call for one in change.gained] == ["clone3", "madvise"]
    assert [one.call for one in change.lost] == ["uname"]
    assert [one.call for one in change.kept] == ["clone"]
    assert not list(found.changes("libc", "1.9", "1.10", "i386"))
    assert [one.functions for one in found.appeared("libc", "1.10", "2.0", "i386")] == [("newer",)]
    # Of other releases and ABIs it is as if nobody had asked before.
    assert found.changes("libc", "1.9", "1.10", "x86_64") == (change,)
    assert found.changes("libc", "1.9", "1.9", "x86_64") == ()
    assert found.changes("libc", "1.10", "1.10", "x86_64") == ()
    for old, new, abi in (("2.0", "2.0", "i386"), ("1.10", "1.10", "i386")):
        assert found.appeared("libc", old, new, abi) == ()


@pytest.mark.parametrize(
    "row",
    ["libc,x86_64", ",clone,,none", ",clone,,none,3.0", ",clone,,none,", "other,x86_64,start"],
)
def test_a_row_of_another_form_is_an_error_with_its_line(row: str) -> None:
    with pytest.raises(InputError) as caught:
        read(*_files(f"{_TEXT}{row}\n"), Path("there"))
    assert "there/companions.csv:9:1: is no row of companions" in str(caught.value)


def test_a_table_that_its_lock_does_not_name_is_refused() -> None:
    table, lock = _files()
    with pytest.raises(InputError, match="run `make companions`"):
        read(table + b"\n", lock, Path("there"))
    with pytest.raises(InputError, match="is not a valid lock of the companions table"):
        read(table, b"[[releases", Path("there"))


def test_an_errno_is_followed_by_what_any_errno_is_followed_by() -> None:
    assert Retry(("ENOSYS",), "clone").follows("ENOSYS")
    assert not Retry(("ENOSYS",), "clone").follows("EPERM")
    assert Retry(("any",), "clone").follows("EPERM")


def test_the_shipped_table_is_as_it_would_be_written() -> None:
    found = shipped_companions()
    directory = Path(lint_companions.__file__).parent
    for name, content in render(found.rows, found.releases).items():
        assert (directory / name).read_bytes() == content
    for row in found.rows:
        known = found.libraries[row.library]
        assert row.functions == tuple(sorted(row.functions))
        assert list(row.releases) == [one for one in known if one in row.releases]
    for one in found.releases:
        assert one.packages, one
