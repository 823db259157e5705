"""Sources, good and bad: servers, checkouts, tarballs, and the cache."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from seccompgen.core.errors import AnswerNo, InputError, OutsideError
from seccompgen.core.tables import UpstreamFile
from seccompgen.kernel.fetch import DEFAULT_SOURCES, fetch, get, web
from seccompgen.kernel.parse import CANDIDATES, parse
from upstream import MINIATURE, NEW, OLD, Upstream, refused_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seccompgen.core.tables import Tables
    from upstream import Fault

TABLE = "arch/sh/kernel/syscalls/syscall.tbl"
AUDIT = "include/uapi/linux/audit.h"
PATHS = (TABLE, AUDIT, "arch/ia64/kernel/syscalls/syscall.tbl")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BACKOFF", (0.01, 0.01, 0.01))
    monkeypatch.delenv("SECCOMPGEN_TIMEOUT", raising=False)


def here(path: str, tag: str = NEW) -> bytes:
    return (MINIATURE / tag / path).read_bytes()


def failure(spec: str | None, paths: Sequence[str] = PATHS, tag: str = NEW) -> str:
    with pytest.raises(OutsideError) as caught:
        fetch(spec, tag, paths)
    (line,) = map(str, caught.value.diagnostics)
    assert "\n" not in line
    return line


# Servers.


@pytest.mark.few(1, "brings a checkout to another tag")
@pytest.mark.parametrize("tag", [NEW, OLD])
def test_everything(
    upstream: Upstream, kernel_tree: Path, tables_of: Callable[[str], Tables], tag: str
) -> None:
    """A symbolic link comes as its target's name; the tables are the same, and tried on few."""
    upstream.root = kernel_tree
    calls: list[tuple[int, int]] = []
    files = fetch(upstream.url, tag, CANDIDATES, progress=lambda *call: calls.append(call))
    if kernel_tree == MINIATURE:
        assert parse(tag, files) == tables_of(tag)
    there = {path: kernel_tree / tag / path for path in CANDIDATES}
    assert files == {
        path: str(file.readlink()).encode() if file.is_symlink() else file.read_bytes()
        for path, file in there.items()
        if file.is_file()
    }
    assert calls == [(done, len(CANDIDATES)) for done in range(1, len(CANDIDATES) + 1)]
    assert sorted(upstream.requests) == sorted(CANDIDATES)
    assert upstream.agents == {"seccompgen"}
    assert list(files) == sorted(files)


def test_what_is_not_there_is_left_out(upstream: Upstream) -> None:
    assert set(fetch(upstream.url, NEW, PATHS)) == {TABLE, AUDIT}


@pytest.mark.parametrize(
    "fault", ["500-once", "429-once", "truncated-once", "reset-once", "redirect-relative"]
)
def test_what_passes(upstream: Upstream, fault: Fault) -> None:
    upstream.faults[TABLE] = fault
    assert fetch(upstream.url, NEW, PATHS)[TABLE] == here(TABLE)
    assert upstream.requests.count(TABLE) == 2


@pytest.mark.parametrize(
    ("fault", "message", "attempts"),
    [
        ("403", "the server answers 403 (Forbidden)", 1),
        ("500", "the server answers 500 (Internal Server Error)", 4),
        ("html", "the server answers with a web page instead of the file", 1),
        ("html-unlabelled", "the server answers with a web page instead of the file", 1),
        ("truncated", "the answer breaks off", 4),
        ("cut-chunk", "the answer breaks off", 4),
        ("endless", "more than 4 MiB, which no source file has", 1),
        ("redirect-loop", "it redirects more than 5 times", 6),
        ("redirect-away", "it redirects to http://example.invalid/", 1),
        ("redirect-nonsense", "it redirects to what is no URL", 1),
    ],
)
def test_what_does_not_pass(upstream: Upstream, fault: Fault, message: str, attempts: int) -> None:
    upstream.faults[TABLE] = fault
    line = failure(upstream.url)
    url = upstream.url.format(tag=NEW, path=TABLE)
    assert line.startswith(f"{url}: {message}")
    assert line.endswith("; try again later, or name another source with --from")
    assert upstream.requests.count(TABLE) == attempts


def test_a_server_that_falls_silent(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT", 0.1)
    for fault, message in (("stalled", "falls silent"), ("silent", "no answer within 0.1 s")):
        upstream.requests.clear()
        upstream.faults[TABLE] = fault  # type: ignore[assignment] # mypy sees str here
        assert message in failure(upstream.url)
        assert upstream.requests.count(TABLE) == 4


@pytest.mark.parametrize("fault", ["stalled", "drip", "silent"])
def test_time_limits(upstream: Upstream, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream.faults[TABLE] = fault
    monkeypatch.setenv("SECCOMPGEN_TIMEOUT", "0.3")
    line = failure(upstream.url)
    assert f"{TABLE}: no answer within 0.3 s;" in line or f"{TABLE}: the server falls" in line


def test_repetitions_end_with_the_deadline(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.faults[TABLE] = "500"
    monkeypatch.setattr(web, "BACKOFF", (0.05, 300, 300))  # longer than the deadline
    assert "answers 500" in failure(upstream.url)
    assert upstream.requests.count(TABLE) == 2


def test_time_limit_that_is_none(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("soon", "-1", "nan", "0"):
        monkeypatch.setenv("SECCOMPGEN_TIMEOUT", text)
        with pytest.raises(InputError, match="SECCOMPGEN_TIMEOUT"):
            fetch(upstream.url, NEW, PATHS)


def test_a_body_that_is_too_short_where_urllib3_does_not_mind() -> None:
    """Before version 2, urllib3 did not compare Content-Length with what came."""
    answer = requests.Response()
    answer.raw = io.BytesIO(b"0 common read sys_read\n")
    answer.headers["Content-Length"] = "4000"
    with pytest.raises(web._TransientError, match="ends after 23 of 4000 bytes"):
        web._body(answer, threading.Event())


def test_first_failure_ends_it(upstream: Upstream) -> None:
    upstream.delay = 0.05
    paths = [f"a/{number:03}" for number in range(400)]
    upstream.faults[paths[0]] = "403"
    assert "a/000" in failure(upstream.url, paths)
    sent = len(upstream.requests)
    assert sent < len(paths) / 2
    time.sleep(0.5)  # a thread may be between its look at the flag and its request; no more
    assert len(upstream.requests) <= sent + web.THREADS


def test_nobody_listens() -> None:
    line = failure(refused_url())
    assert "Connection refused; try again later" in line


def test_unknown_host() -> None:
    line = failure("https://seccompgen.invalid/{tag}/{path}")
    assert line.startswith("https://seccompgen.invalid/v7.3.4/")
    assert "Error" not in line


def test_no_such_tag(upstream: Upstream) -> None:
    line = failure(upstream.url, tag="v9.9")
    assert line.endswith("not found, nor any other file: does this source have v9.9?")
    with pytest.raises(OutsideError, match="nor any other file"):
        fetch(upstream.url, "v9.9", PATHS, expected=described(TABLE))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("https://example.org/linux/{tag}", "does not contain {path}; write it like"),
        ("http://example.org/{tag}/{path}", "is not https"),
        ("http://127.0.0.1.example.org/{tag}/{path}", "is not https"),
        ("ftp://example.org/{path}", "is not https"),
        ("file:///{path}", "names no host"),
        ("https://{tag}/{path}", "names no host"),
        ("https://[::1/{path}", "is no URL"),
        ("https://host:port/{path}", "is no URL"),
    ],
)
def test_templates_that_are_none(spec: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        fetch(spec, NEW, PATHS)
    assert message in str(caught.value)


def test_paths_stay_inside() -> None:
    for path in ("../secret", "a/../../b", "/etc/passwd"):
        with pytest.raises(InputError, match="no path inside"):
            fetch("https://example.org/{path}", NEW, [path])
        with pytest.raises(InputError, match="no path inside"):
            fetch(str(MINIATURE), NEW, [path])


def test_default_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [template.split("/")[2] for template in DEFAULT_SOURCES] == [
        "git.kernel.org",
        "raw.githubusercontent.com",
    ]
    assert all(template.startswith("https://") for template in DEFAULT_SOURCES)
    with Upstream() as first, Upstream() as second:
        monkeypatch.setattr(get, "DEFAULT_SOURCES", (first.url, second.url))
        assert set(fetch(None, NEW, PATHS)) == {TABLE, AUDIT}
        assert not second.requests
        first.faults[AUDIT] = "html"
        assert fetch(None, NEW, PATHS)[AUDIT] == here(AUDIT)
        first.faults["*"] = "404"
        first.faults.pop(AUDIT)
        assert fetch(None, NEW, PATHS)[AUDIT] == here(AUDIT)
        second.faults["*"] = "403"
        with pytest.raises(OutsideError) as caught:
            fetch(None, NEW, PATHS)
        one, two = map(str, caught.value.diagnostics)
        assert first.url[:20] in one
        assert "not found" in one
        assert second.url[:20] in two
        assert "403" in two


def test_ctrl_c_ends_it_whatever_the_time_limit() -> None:
    with Upstream(faults={"*": "silent"}) as server:
        code = (
            "import signal\n"
            "from seccompgen.kernel.fetch import fetch\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # may be ignored here
            f"fetch({server.url!r}, 'v7.3.4', [f'a/{{n}}' for n in range(20)])\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "SECCOMPGEN_TIMEOUT": "3600"},
            stderr=subprocess.PIPE,
        ) as child:
            while len(server.requests) < web.THREADS and child.poll() is None:
                time.sleep(0.01)
            child.send_signal(signal.SIGINT)
            _, error = child.communicate(timeout=60)
        assert error.rstrip().endswith(b"KeyboardInterrupt")


# What is expected.


def described(path: str, content: bytes | None = None) -> dict[str, UpstreamFile]:
    return {path: UpstreamFile.of(path, here(path) if content is None else content)}


def test_expected_files_are_fetched_and_compared(upstream: Upstream) -> None:
    assert fetch(upstream.url, NEW, [AUDIT], expected=described(TABLE)).keys() == {AUDIT, TABLE}
    expected = {**described(TABLE, b"a"), **described(AUDIT, b"b")}
    with pytest.raises(AnswerNo) as caught:
        fetch(upstream.url, NEW, PATHS, expected=expected)
    lines = [str(item) for item in caught.value.diagnostics]
    assert [line.partition(":")[0] for line in lines] == [TABLE, AUDIT]
    for path, content, line in ((TABLE, b"a", lines[0]), (AUDIT, b"b", lines[1])):
        assert hashlib.sha256(content).hexdigest() in line
        assert hashlib.sha256(here(path)).hexdigest() in line


def test_one_changed_byte(upstream: Upstream) -> None:
    upstream.content[TABLE] = here(TABLE).replace(b"restart", b"restarT", 1)
    with pytest.raises(AnswerNo):
        fetch(upstream.url, NEW, PATHS, expected=described(TABLE))
    sized = UpstreamFile(AUDIT, 1, UpstreamFile.of(AUDIT, here(AUDIT)).sha256)
    with pytest.raises(AnswerNo, match="1 bytes"):
        fetch(upstream.url, NEW, PATHS, expected={AUDIT: sized})


def test_expected_file_that_is_missing(upstream: Upstream) -> None:
    upstream.faults[TABLE] = "404"
    for spec in (upstream.url, str(MINIATURE / OLD)):
        path = TABLE if spec == upstream.url else "scripts/syscall.tbl"
        with pytest.raises(OutsideError) as caught:
            fetch(spec, NEW if spec == upstream.url else OLD, PATHS, expected=described(path, b""))
        assert str(caught.value) == f"{path}: the lock names this file, and {spec} lacks it"


# The cache.


def test_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, upstream: Upstream) -> None:
    monkeypatch.setattr(get, "DEFAULT_SOURCES", (upstream.url,))
    expected = {**described(TABLE), **described(AUDIT)}
    for attempt in range(2):
        fetch(None, NEW, [TABLE, AUDIT], cache=tmp_path / "c")
        assert len(upstream.requests) == 2 * (attempt + 1)  # nothing expected: always asked
    calls: list[tuple[int, int]] = []
    found = fetch(
        None, NEW, PATHS, expected=expected, cache=tmp_path / "c",
        progress=lambda *call: calls.append(call),
    )  # fmt: skip
    assert found == {TABLE: here(TABLE), AUDIT: here(AUDIT)}
    assert upstream.requests[4:] == [PATHS[2]]
    assert calls == [(3, 3)]
    places = [path for path in (tmp_path / "c").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "c").as_posix() for path in places} == {
        f"sha256/{file.sha256[:2]}/{file.sha256}" for file in expected.values()
    }
    for place in places:
        place.write_bytes(b"damaged")
    fetch(None, NEW, PATHS, expected=expected, cache=tmp_path / "c")
    assert len(upstream.requests) == 8
    assert sorted(place.read_bytes() for place in places) == sorted(found.values())
    fetch(upstream.url, NEW, PATHS, expected=expected, cache=tmp_path / "c")
    assert len(upstream.requests) == 11  # a source that was named is asked


def test_all_from_the_cache_without_a_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, upstream: Upstream
) -> None:
    fetch(upstream.url, NEW, [TABLE], cache=tmp_path)
    monkeypatch.setattr(get, "DEFAULT_SOURCES", (refused_url(),))
    found = fetch(None, NEW, [TABLE], expected=described(TABLE), cache=tmp_path)
    assert found == {TABLE: here(TABLE)}


def test_cache_that_cannot_be_written(tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "file").write_text("")
    assert fetch(upstream.url, NEW, [TABLE], cache=tmp_path / "file")
    assert fetch(upstream.url, NEW, [TABLE], cache=Path("/proc/nowhere"))


# Checkouts and tarballs.


def checkout(root: Path, makefile: str | None = None) -> Path:
    for path in (TABLE, AUDIT, "scripts/syscall.tbl"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(here(path))
    text = here("Makefile").decode() if makefile is None else makefile
    if text:
        (root / "Makefile").write_text(text)
    (root / "arch/arm64/tools").mkdir(parents=True)
    (root / "arch/arm64/tools/syscall_64.tbl").symlink_to("../../../scripts/syscall.tbl")
    return root


LINK = "arch/arm64/tools/syscall_64.tbl"


def packed(root: Path, archive: Path, top: str = "linux-7.3.4") -> Path:
    mode = "w:" + archive.suffix.lstrip(".").replace("tar", "")
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload] # mode is computed
        tar.add(root, top)
    return archive


def test_directory(tmp_path: Path) -> None:
    checkout(tmp_path / NEW)
    calls: list[tuple[int, int]] = []
    found = fetch(
        str(tmp_path / "{tag}"), NEW, [*PATHS, LINK], progress=lambda *call: calls.append(call)
    )
    assert found == {TABLE: here(TABLE), AUDIT: here(AUDIT), LINK: b"../../../scripts/syscall.tbl"}
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("name", ["l.tar.xz", "l.tar.gz", "l.tar"])
@pytest.mark.parametrize("top", ["linux-7.3.4", "./linux-7.3.4"])
def test_tarball(tmp_path: Path, name: str, top: str) -> None:
    archive = packed(checkout(tmp_path / "tree"), tmp_path / name, top)
    found = fetch(str(archive), NEW, [*PATHS, LINK])
    assert found == {TABLE: here(TABLE), AUDIT: here(AUDIT), LINK: b"../../../scripts/syscall.tbl"}
    with pytest.raises(InputError, match=r"is Linux v7\.3\.4, not v6\.1\.176"):
        fetch(str(archive), OLD, PATHS)


@pytest.mark.parametrize("name", ["l.tar.xz", "l.tar.gz", "l.tar"])
def test_damaged_tarball(tmp_path: Path, name: str) -> None:
    archive = packed(checkout(tmp_path / "tree"), tmp_path / name)
    whole = archive.read_bytes()
    cut = len(whole) // 2 if name == "l.tar" else len(whole) - 100  # tar ends in much padding
    for content in (b"", b"no tarball", whole[:cut], whole[:200]):
        archive.write_bytes(content)
        with pytest.raises(InputError, match=r"not a readable tarball|no file of a kernel"):
            fetch(str(archive), NEW, PATHS)


def test_hostile_tarball(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def archive(*members: tuple[str, bytes]) -> str:
        with tarfile.open(tmp_path / "l.tar", "w") as tar:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return str(tmp_path / "l.tar")

    with pytest.raises(InputError, match="no file of a kernel tree"):
        fetch(archive(("linux/../" + TABLE, b"a\n"), ("/" + TABLE, b"a\n")), NEW, PATHS)
    with pytest.raises(InputError, match="larger than 4 MiB"):
        fetch(archive(("linux/" + TABLE, b"#" * ((4 << 20) + 1))), NEW, PATHS)
    monkeypatch.setattr("seccompgen.kernel.fetch.local.MAX_TARBALL", 100)
    with pytest.raises(InputError, match="unpacks to more"):
        fetch(archive(("linux/other", b"#" * 101)), NEW, PATHS)


@pytest.mark.parametrize(
    ("makefile", "tag", "actual"),
    [
        ("VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n", "v7.3.4", ""),
        ("VERSION = 7\nPATCHLEVEL = 4\nSUBLEVEL = 0\nEXTRAVERSION = -rc1\n", "v7.4-rc1", ""),
        ("VERSION = 7\nPATCHLEVEL = 4\nSUBLEVEL = 0\nEXTRAVERSION =\n", "v7.4", ""),
        ("VERSION = 7\nPATCHLEVEL = 4\nSUBLEVEL = 0\nEXTRAVERSION =\n", "v7.4-rc1", "v7.4"),
        ("VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 176\nEXTRAVERSION =\n", "v7.3.4", "v6.1.176"),
        ("", "v7.3.4", ""),
        ("all:\n", "v7.3.4", ""),
    ],
)
def test_release_of_a_checkout(tmp_path: Path, makefile: str, tag: str, actual: str) -> None:
    root = checkout(tmp_path / "tree", makefile)
    if not actual:
        assert fetch(str(root), tag, PATHS)
        return
    with pytest.raises(InputError) as caught:
        fetch(str(root), tag, PATHS)
    assert f"is Linux {actual}, not {tag}" in str(caught.value)


def test_links_out_of_a_checkout(tmp_path: Path) -> None:
    root = checkout(tmp_path / "tree")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (outside / "link").symlink_to("secret")
    (root / "escape").symlink_to(outside)
    (root / "direct").symlink_to(outside / "secret")
    found = fetch(str(root), NEW, [TABLE, "escape/secret", "escape/link", "direct"])
    assert found == {TABLE: here(TABLE), "direct": str(outside / "secret").encode()}


def test_what_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("file", "is no directory and none of .tar"),
        ("missing", "does not exist"),
        ("empty", "has no file of a kernel tree"),
    ):
        with pytest.raises(InputError, match=message):
            fetch(str(tmp_path / name), NEW, PATHS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_checkout(tmp_path: Path) -> None:
    root = checkout(tmp_path / "tree")
    (root / TABLE).chmod(0)
    with pytest.raises(OutsideError, match="Permission denied"):
        fetch(str(root), NEW, PATHS)


def test_no_thread_is_waited_for(upstream: Upstream) -> None:
    fetch(upstream.url, NEW, PATHS)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name != "MainThread")
