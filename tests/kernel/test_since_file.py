"""First releases as CSV: written, read again, and refused where they are not what was written."""

from __future__ import annotations

import pytest
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.releases import Introduced
from seccompgen.kernel import since_file

KNOWN = {
    "x86_64": {"read": "<=2.6.29", "openat2": "5.6"},
    "arm": {"read": "<=3.0", "clone3": "5.3-5.4"},
}
ABI_COUNT = len(ABIS)


def since() -> dict[str, dict[str, Introduced]]:
    return {
        abi: {call: Introduced.parse(cell) for call, cell in calls.items()}
        for abi, calls in KNOWN.items()
    }


def test_what_is_written_is_read_again() -> None:
    content = since_file.render(since())
    header, *rows = content.decode().splitlines()
    assert header == "call," + ",".join(ABIS)
    assert [row.split(",")[0] for row in rows] == ["clone3", "openat2", "read"]
    again = since_file.read(content, "s.csv", ())
    assert {abi: calls for abi, calls in again.items() if calls} == since()
    assert since_file.render(again) == content


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("read,<=2.6.29", "read,2.6.29?", "4:6", "'2.6.29?' is no release such as 5.11"),
        ("read,<=2.6.29", "read,5.4-5.3", "4:6", "5.4-5.3 ends before it begins"),
        ("read,<=2.6.29", "read,v5.4", "4:6", "'v5.4' is no release"),
        ("read,<=2.6.29", "read,5.4-", "4:6", "'5.4-' is no release"),
        ("read,<=2.6.29", "read,5.4-5.4", "4:6", "'5.4-5.4' is no release"),
        ("read,<=2.6.29", "read,5.4.1", "4:6", "'5.4.1' is no release"),
        ("read,<=2.6.29", "read,05.4", "4:6", "'05.4' is no release"),
        ("read,<=2.6.29", "read", "4:1", f"{ABI_COUNT - 1} releases for {ABI_COUNT} ABIs"),
        ("\nread", "\nRead", "4:1", "'Read' is no name of a system call, or not in its place"),
        ("\nread", "\nclone3", "4:1", "'clone3' is no name of a system call, or not in its place"),
        ("openat2,5.6,", "openat2,,", "3:1", "openat2 has no release"),
        ("call,x86_64,", "call,", "1:1", "the first line should be"),
    ],
)
def test_whatever_was_not_written_is_refused(old: str, new: str, where: str, message: str) -> None:
    text = since_file.render(since()).decode()
    assert text.count(old) == 1
    with pytest.raises(InputError) as caught:
        since_file.read(text.replace(old, new).encode(), "s.csv", ())
    shown = [str(one) for one in caught.value.diagnostics]
    assert any(one.startswith(f"s.csv:{where}: ") and message in one for one in shown), shown


def test_all_problems_are_told_at_once() -> None:
    broken = since_file.render(since()).replace(b"5.6", b"x").replace(b"<=3.0", b"y")
    with pytest.raises(InputError) as caught:
        since_file.read(broken, "s.csv", ())
    assert len(caught.value.diagnostics) == 2
    with pytest.raises(InputError, match="the last line is cut off"):
        since_file.read(broken[:-1], "s.csv", ())
