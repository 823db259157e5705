"""When calls came, from outside: ``tables --history``, what a bump adds, ``syscalls --since``."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from command import RENEW, checkout, seccompgen, snapshot
from miniature_history import TAGS, write_repository, write_trees
from plain_history import SHIPPED, bounds, plain_since
from seccompgen.kernel.shipped import LOCK_NAME, SINCE_NAME
from strategies import plain_tables
from upstream import MINIATURE, NEW, Upstream

if TYPE_CHECKING:
    from pathlib import Path

RANGE = f"{TAGS[0]}..{TAGS[-1]}"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trees(tmp_path_factory.mktemp("trees"))


@pytest.mark.long("reads several releases")
@pytest.mark.parametrize(
    "server", [False, pytest.param(True, marks=pytest.mark.long("cli/test_tables has a server"))]
)
def test_a_server_a_template_and_a_repository_give_one_history(
    trees: Path, tmp_path: Path, server: bool
) -> None:
    repository = write_repository(trees, tmp_path / "linux")
    results: list[tuple[str, dict[str, bytes]]] = []
    with Upstream(trees) as upstream:
        sources: list[str | Path] = [*[upstream.url] * server, trees / "{tag}", repository]
        for source in sources:
            out = tmp_path / str(len(results))
            run = seccompgen("tables", "--history", RANGE, "--from", source, "-o", out)
            assert run.code == 0, run.err
            results.append((run.out.replace(str(out), ""), snapshot(out)))
    assert all(one == results[0] for one in results)
    told = results[0][0]
    assert "history read from v6.1, v6.2, v6.3, v6.4\n" in told
    # What the miniature has for its own is not what the kernel did.
    assert "  cachestat on 10 ABIs: known since 6.5, by the tables 6.2, which count\n" in told
    assert "  memfd_secret on s390: known since 6.4, but in no table that was read; kept\n" in told
    written = plain_since(tmp_path / "0" / SINCE_NAME)
    assert written["x86_64"]["cachestat"] == "6.2"
    assert written["loongarch64"]["openat"] == "6.3"
    for abi, calls in plain_since().items():  # what is older than the tables stays
        assert {call for call, cell in calls.items() if bounds(cell)[1] <= (6, 1)} >= {
            call for call, cell in calls.items() if written[abi][call] == cell == "<=2.6.29"
        }
    assert written["x86_64"]["read"] == plain_since()["x86_64"]["read"]
    shown = seccompgen("syscalls", "cachestat", "--arch", "amd64", "--tables", tmp_path / "0").out
    assert shown.startswith("x86_64              451 cachestat  since 6.2\n")


@pytest.mark.long("brings a checkout to another tag")
def test_the_history_in_json(trees: Path, tmp_path: Path) -> None:
    words = ("--history", "v6.1,v6.4", "--from", trees / "{tag}", "-o", tmp_path / "t", "--json")
    history = json.loads(seccompgen("tables", *words).out)["history"]
    assert history["releases"] == ["v6.1", "v6.4"]
    assert history["changed"] > 100
    assert {
        "abi": "x86_64",
        "syscall": "mseal",
        "known": "6.10",
        "tables": "6.2-6.4",
    } in history["conflicts"]
    assert json.loads(seccompgen("tables", "--json", "-o", tmp_path / "u").out)["history"] is None


@pytest.mark.parametrize(
    ("releases", "code", "message"),
    [
        ("v6.1..v6.5", 2, "v6.5' does not exist"),
        ("v5.9..", 2, "v5.9 is too old"),
        ("v6.1.176..v6.4", 2, "v6.1.176 is no mainline release, v6.1 is"),
        ("v6.4..v6.1", 2, "write the oldest release first"),
        ("new..", 2, "--history: 'new' is not a Linux release"),
    ],
)
def test_what_cannot_be_read_changes_nothing(
    trees: Path, tmp_path: Path, releases: str, code: int, message: str
) -> None:
    out = tmp_path / "out"
    run = seccompgen("tables", "--history", releases, "--from", trees / "{tag}", "-o", out)
    assert (run.code, message in run.err) == (code, True), run.err
    assert not out.exists()


@pytest.mark.long("brings a checkout to another tag")
def test_a_repository_without_the_tag_says_so(trees: Path, tmp_path: Path) -> None:
    source = write_repository(trees, tmp_path / "linux")
    words = ("--from", source, "-o", tmp_path / "out")
    run = seccompgen("tables", "--history", "v6.4..v6.5", *words)
    assert run.code == 2
    assert "its repository has no tag v6.5: fetch that" in run.err
    # What is checked out counts where it is the tag, as it always did.
    (source / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 5\n")
    assert "v6.5" not in seccompgen("tables", "--tag", "v6.4", *words).err
    run = seccompgen("tables", "--tag", "v6.6", *words)
    assert "is Linux v6.5, not v6.6, and its repository has no tag v6.6: fetch that" in run.err
    run = seccompgen("tables", "--tag", "v6.3", *words, env={"PATH": "/nowhere"})
    assert (run.code, run.err.startswith("cannot run git: ")) == (3, True), run.err


@pytest.mark.long("brings a checkout to another tag")
def test_a_project_has_its_history_written_and_checked(trees: Path, tmp_path: Path) -> None:
    tree = checkout(tmp_path / "checkout", MINIATURE)
    words = ("tables", "--history", RANGE, "--from", trees / "{tag}")
    before = snapshot(tree)
    stale = seccompgen(*words, "--check", cwd=tree)
    assert (stale.code, RENEW in stale.err) == (1, True)
    assert snapshot(tree) == before
    assert seccompgen(*words, cwd=tree).code == 0
    after = snapshot(tree)
    changed = {name for name in after if after[name] != before.get(name)}
    kernel = "generator/seccompgen/kernel"
    assert changed == {f"{kernel}/{SINCE_NAME}", f"{kernel}/{LOCK_NAME}"}
    assert seccompgen(*words, "--check", cwd=tree).code == 0
    assert seccompgen("tables", "--check", cwd=tree).code == 0

    since = tree / kernel / SINCE_NAME
    since.write_text(since.read_text().replace("6.2", "6.1"))
    edited = seccompgen("tables", "--check", cwd=tree)
    assert edited.code == 1
    assert f"{since}: the content is not what" in edited.err
    # Without a lock, the history is that of the seccompgen that runs.
    (tree / kernel / LOCK_NAME).unlink()
    assert seccompgen("tables", "--from", MINIATURE / NEW, cwd=tree).code == 0
    assert since.read_bytes() == SHIPPED.read_bytes()


def _next_release(directory: Path, patch_level: int) -> Path:
    """Write the tree of a release after the pin, with a call that nobody has yet."""
    tree = directory / f"v7.{patch_level}"
    shutil.copytree(MINIATURE / NEW, tree)
    (tree / "Makefile").write_text(f"VERSION = 7\nPATCHLEVEL = {patch_level}\nSUBLEVEL = 0\n")
    table = tree / "arch/x86/entry/syscalls/syscall_64.tbl"
    table.write_text(f"{table.read_text()}999 common brand_new sys_brand_new\n")
    return tree


@pytest.mark.parametrize(
    ("patch_level", "first"),
    [(4, "7.4"), pytest.param(6, "7.4-7.6", marks=pytest.mark.long("the same with a gap"))],
)
def test_a_bump_adds_its_release(tmp_path: Path, patch_level: int, first: str) -> None:
    """Exactly where it is the next one."""
    tree, out = _next_release(tmp_path, patch_level), tmp_path / "out"
    run = seccompgen("tables", "--tag", tree.name, "--from", tree, "-o", out)
    assert run.code == 0, run.err
    since = plain_since(out / SINCE_NAME)
    assert {abi for abi, calls in since.items() if "brand_new" in calls} == {"x86_64", "x32"}
    assert since["x86_64"].pop("brand_new") == first
    assert since["x86_64"] == plain_since()["x86_64"]
    # And the release after that begins with what is known here.
    later = _next_release(tmp_path, patch_level + 1)
    table = later / "arch/x86/entry/syscalls/syscall_64.tbl"
    table.write_text(f"{table.read_text()}1000 64 newer_still sys_newer_still\n")
    run = seccompgen("tables", "--tag", later.name, "--from", later, "-o", out)
    assert run.code == 0, run.err
    since = plain_since.__wrapped__(out / SINCE_NAME)
    assert since["x86_64"]["brand_new"] == first
    assert since["x86_64"]["newer_still"] == f"7.{patch_level + 1}"


@pytest.mark.long("brings a checkout to another tag")
def test_tables_of_an_older_seccompgen_have_the_history_of_this_one(tmp_path: Path) -> None:
    assert seccompgen("tables", "-o", tmp_path).code == 0
    whole = snapshot(tmp_path)
    lock = tmp_path / LOCK_NAME
    kept = [line for line in lock.read_text().splitlines(keepends=True) if "since = " not in line]
    lock.write_text("".join(kept))
    (tmp_path / SINCE_NAME).unlink()
    words = ("syscalls", "openat2", "--arch", "arm64", "--tables", tmp_path)
    assert seccompgen(*words).out.startswith("aarch64             437 openat2  since 5.6\n")
    assert seccompgen("tables", "-o", tmp_path).code == 0
    assert snapshot(tmp_path) == whole


def test_syscalls_lists_what_is_newer() -> None:
    run = seccompgen("syscalls", "--since", "v6.1.176", "--arch", "arm64")
    rows = [line.split() for line in run.out.splitlines()]
    table, since = plain_tables()["aarch64"], plain_since()["aarch64"]
    newer = {call for call in table if bounds(since[call])[1] > (6, 1)}
    assert {(int(nr), call, first) for nr, call, first in rows} == {
        (table[call], call, since[call]) for call in newer
    }
    assert ["451", "cachestat", "6.5"] in rows
    everywhere = seccompgen("syscalls", "--since", "6.12").out.splitlines()
    assert everywhere[0] == "loongarch32: all 317 calls"
    assert "fchroot                  7.3        on 34 of 35 ABIs" in everywhere
    assert "clone3                   7.0        on sparc, sparc64" in everywhere
    assert seccompgen("syscalls", "--since", "v99.0").out == ""


def test_syscalls_says_when_in_json() -> None:
    table = json.loads(seccompgen("syscalls", "--arch", "arm64", "--json").out)
    assert table["since"] == {call: plain_since()["aarch64"][call] for call in table["syscalls"]}
    newer = json.loads(seccompgen("syscalls", "--arch", "arm64", "--since", "7.2", "--json").out)
    assert (newer["syscalls"], newer["since"]) == ({"fchroot": 472}, {"fchroot": "7.3"})
    everywhere = json.loads(seccompgen("syscalls", "--since", "7.2", "--json").out)
    assert [one["abi"] for one in everywhere][:3] == ["x86_64", "x32", "i386"]
    assert len(everywhere) == 35
    rows = json.loads(seccompgen("syscalls", "clone3", "--json").out)
    assert len(rows) > 30
    for row in rows:
        assert row["since"] == plain_since()[row["abi"]]["clone3"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--since", "new"), "'new' is not a Linux release; write it like v6.1"),
        (("--since", "v6.1", "openat2"), "--since lists calls: leave openat2 out"),
        (("--since", "v6.1", "--arch", "pdp11"), "pdp11"),
    ],
)
def test_what_is_no_release_is_an_input_error(words: tuple[str, ...], message: str) -> None:
    run = seccompgen("syscalls", *words)
    assert (run.code, message in run.err) == (2, True), run.err
