"""``seccompgen convert``: what it writes, and what it leaves alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import inside, snapshot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.long("runs commands on many filters")
def test_no_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.policy").write_text("read: 1\n")
    (tmp_path / "mine.yml").write_text("# mine\n")
    (tmp_path / "link.yml").symlink_to("nowhere")
    before = snapshot(tmp_path)
    for name in ("a.policy", "mine.yml", "link.yml", "/dev/full"):
        run = inside("convert", "a.policy", "--for", "x86_64", "-o", name, cwd=tmp_path)
        assert (run.code, run.out) == (2, "")
        assert run.err.endswith(
            f"{name}: is there already: name another file, or remove it first\n"
        )
    assert snapshot(tmp_path) == before
    for _ in range(2):  # the same content again is no replacement
        run = inside("convert", "a.policy", "--for", "x86_64", "-o", "new.yml", cwd=tmp_path)
        assert run.code == 0, run.err
    assert inside("equiv", "a.policy", "new.yml", "--for", "x86_64", cwd=tmp_path).code == 0


def vmm(**filters: object) -> str:
    """Return a file of seccompiler's with filters by name, each with its rules."""
    about = {"default_action": "trap", "filter_action": "allow"}
    return json.dumps({name: {**about, "filter": rules} for name, rules in filters.items()})


READS = [{"syscall": "read"}, {"syscall": "exit_group"}]
WRITES = [{"syscall": "write", "args": [{"index": 0, "type": "dword", "op": "eq", "val": 1}]}]


@pytest.mark.long("runs commands on many filters")
def test_each_filter_of_a_file_becomes_a_policy_in_a_directory(tmp_path: Path) -> None:
    (tmp_path / "vmm.json").write_text(vmm(main=READS, api=WRITES))
    run = inside("convert", "vmm.json", "-o", "out/", "--for", "x86_64", cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    assert sorted(snapshot(tmp_path / "out")) == ["api.yml", "main.yml"]
    for name in ("main", "api"):
        words = ("vmm.json", f"out/{name}.yml", "--filter", name, "--for", "x86_64")
        assert inside("equiv", *words, cwd=tmp_path).code == 0
    one = ("convert", "vmm.json", "--filter", "api", "-o", "one/", "--for", "x86_64")
    assert inside(*one, cwd=tmp_path).code == 0
    assert sorted(snapshot(tmp_path / "one")) == ["api.yml"]
    (tmp_path / "a.policy").write_text("read: 1\n")
    assert inside("convert", "a.policy", "-o", "one", "--for", "x86_64", cwd=tmp_path).code == 0
    assert sorted(snapshot(tmp_path / "one")) == ["a.yml", "api.yml"]


def test_all_filters_are_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "vmm.json").write_text(vmm(main=READS, api=WRITES))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "main.yml").write_text("# mine\n")
    before = snapshot(tmp_path)
    words = ("convert", "vmm.json", "--for", "x86_64")
    run = inside(*words, "-o", "out/", cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert run.err == "out/main.yml: is there already: name another file, or remove it first\n"
    for options in ((), ("-o", "all.yml")):
        run = inside(*words, *options, cwd=tmp_path)
        assert (run.code, run.out) == (2, "")
        assert "name one with --filter, or let convert write all of them with -o DIR/" in run.err
    wrong = {"syscall": "raed"}
    (tmp_path / "vmm.json").write_text(vmm(main=READS, api=[wrong], vcpu=[wrong]))
    before = snapshot(tmp_path)
    run = inside(*words, "-o", "new/", cwd=tmp_path)
    assert (run.code, run.out, run.err.count("'raed'")) == (2, "", 2)
    assert snapshot(tmp_path) == before


def test_names_of_filters_are_no_paths(tmp_path: Path) -> None:
    names = ("../up", "a/b", "", "nul", ".hidden", "Main", "main")
    (tmp_path / "vmm.json").write_text(vmm(**dict.fromkeys(names, READS)))
    run = inside("convert", "vmm.json", "-o", "out/", "--for", "x86_64", cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert len(run.err.splitlines()) == len(names) - 1
    assert sorted(snapshot(tmp_path)) == ["vmm.json"]
    words = ("convert", "vmm.json", "--filter", "../up", "-o", "up.yml", "--for", "x86_64")
    assert inside(*words, cwd=tmp_path).code == 0


def test_each_of_androids_filters_becomes_a_policy(tmp_path: Path) -> None:
    calls = {"SYSCALLS": "read(int)", "SECCOMP_ALLOWLIST_APP": "write(int)"}
    calls |= {"SECCOMP_ALLOWLIST_SYSTEM": "mount(int)", "SECCOMP_BLOCKLIST_APP": "read(int)"}
    for name, call in calls.items():
        (tmp_path / f"{name}.TXT").write_text(f"int {call} all\n")
    run = inside("convert", "SYSCALLS.TXT", cwd=tmp_path)
    assert (run.code, "app, system" in run.err) == (2, True)
    run = inside("convert", "SYSCALLS.TXT", "-o", "out/", cwd=tmp_path)
    assert run.code == 0, run.err
    assert "names: [write]" in (tmp_path / "out" / "app.yml").read_text()
    text = (tmp_path / "out" / "system.yml").read_text()
    assert ("names: [read]" in text, "names: [mount]" in text) == (True, True)


def test_what_has_no_rules_is_told_as_what_it_is(tmp_path: Path) -> None:
    policy = "default_action: errno\narches: [x86_64]\nsyscalls: [{action: allow, names: [read]}]\n"
    (tmp_path / "p.yml").write_text(policy)
    (tmp_path / "apparmor.conf").write_text("#include <tunables/global>\nprofile foo {\n}\n")
    (tmp_path / "wrong.yml").write_text(policy.replace("errno", "eror"))
    assert inside("build", "p.yml", "--format", "bpf", "-o", "raw", cwd=tmp_path).code == 0
    assert inside("build", "p.yml", "-o", "out", cwd=tmp_path).code == 0
    needs = "and convert needs the rules of a policy: name the policy that"
    told = {
        "raw/p.x86_64.bpf": f"is raw instructions, {needs} they were compiled from",
        "out/p/__init__.py": f"is a generated module, {needs} it was made from",
        "p.yml": "is a policy of seccompgen already; if it is another's, say with --from which",
        "apparmor.conf": "looks like a profile of AppArmor, which no command reads",
        "wrong.yml": "wrong.yml:1:17: unknown action 'eror'",
    }
    for name, text in told.items():
        run = inside("convert", name, cwd=tmp_path)
        assert (run.code, run.out) == (2, "")
        assert text in run.err
