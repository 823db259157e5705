"""OCI profiles read: every field, every error with its place, and what libseccomp makes of them."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import libseccomp
import oci_profiles
import pytest
from command import inside
from corpus import SHARED
from longer import long_but
from proving import TABLES, named_call
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.core.model import ActionKind
from seccompgen.core.problems import Problem
from seccompgen.filters.combine.convert import convert
from seccompgen.formats import load_policy
from seccompgen.verify import Code, Difference, Proof, meaning, prove
from seccompgen.verify.call import Call

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.model import ResolvedPolicy

OCI = SHARED / "oci"
CRUN = Reading(runtime=Runtime.CRUN)
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
needs_corpus = pytest.mark.skipif(not OCI.is_dir(), reason="needs ../shared/corpus")
needs_libseccomp = pytest.mark.skipif(
    not libseccomp.is_here(), reason="needs python3-seccomp of the system, on x86_64"
)


def profile(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"]}
    return {**head, "syscalls": list(rules), **more}


def rule(name: str, *args: tuple[int, str, int], action: str = "ALLOW") -> dict[str, Any]:
    listed = [{"index": i, "op": f"SCMP_CMP_{op}", "value": v} for i, op, v in args]
    return {"names": [name], "action": f"SCMP_ACT_{action}", "args": listed}


def read(where: Path, document: dict[str, Any], reading: Reading = CRUN) -> ResolvedPolicy:
    path = where / "profile.json"
    path.write_text(json.dumps(document, indent=1))
    return load_policy(path, TABLES, reading)[0]


def answer(policy: ResolvedPolicy, name: str, *args: int, abi: str = "x86_64") -> int:
    host = next(one for one in policy.arches if abi in {one.name, *one.siblings})
    return meaning(policy, host, TABLES).answer(named_call(abi, name, *args))


def problems(where: Path, text: str, reading: Reading = CRUN) -> list[str]:
    path = where / "profile.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_policy(path, TABLES, reading)
    places = [one.position for one in caught.value.diagnostics]
    assert all(place and place.line and place.column for place in places)
    return [
        f"{place.line}:{place.column}: {one.message}"
        for place, one in zip(places, caught.value.diagnostics, strict=True)
        if place
    ]


def test_all_errors_at_once_each_with_its_place(tmp_path: Path) -> None:
    text = """{
 "defaultAction": "SCMP_ACT_DENY",
 "architectures": ["SCMP_ARCH_AMD64"],
 "flags": ["SECCOMP_FILTER_FLAG_NONE"],
 "syscalls": [
  {"names": [], "action": "SCMP_ACT_ALLOW"},
  {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": -1, "op": "EQ"}]},
  {"name": "read", "names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 70000},
  {"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "five"}},
  17
 ]
}"""
    found = problems(tmp_path, text)
    assert [one.split(": ")[0] for one in found] == [
        *("2:19", "3:20", "4:12", "6:3", "7:70", "7:82", "7:92", "8:12", "8:80", "9:77", "10:3")
    ]
    assert "did you mean" in found[1]


def test_fields_in_other_case_are_gos_alone(tmp_path: Path) -> None:
    text = json.dumps({"DefaultAction": "SCMP_ACT_ALLOW", "Syscalls": [], "architectures": []})
    assert "write 'defaultAction'" in problems(tmp_path, text)[0]
    path = tmp_path / "profile.json"
    policy, _ = load_policy(path, TABLES, Reading(runtime=Runtime.RUNC))
    assert policy.default_action.kind is ActionKind.ALLOW


def test_unknown_fields_say_nothing_and_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile({"names": ["read"], "action": "SCMP_ACT_ALLOW", "arg": []})))
    _, notes = load_policy(path, TABLES, CRUN)
    assert [note.kind for note in notes] == [Problem.UNKNOWN_KEY]
    assert "'args'" in notes[0].message


@pytest.mark.parametrize("runtime", [Runtime.RUNC, Runtime.CRUN])
def test_runtimes_or_what_compares_an_argument_twice(runtime: Runtime, tmp_path: Path) -> None:
    document = profile(rule("read", (0, "EQ", 1), (0, "EQ", 2), (1, "EQ", 3)))
    policy = read(tmp_path, document, Reading(runtime=runtime))
    assert answer(policy, "read", 1) == answer(policy, "read", 2) == ALLOW
    assert answer(policy, "read", 9, 3) == ALLOW
    assert answer(policy, "read", 9, 9) == ERRNO | 1


def test_libseccomp_refuses_what_compares_an_argument_twice(tmp_path: Path) -> None:
    text = json.dumps(profile(rule("read", (0, "EQ", 1), (0, "EQ", 2))))
    assert "make two rules" in problems(tmp_path, text, Reading(runtime=Runtime.LIBSECCOMP))[0]


def test_a_rule_without_comparisons_decides_alone(tmp_path: Path) -> None:
    rules = rule("read", (0, "EQ", 1)), rule("read", action="LOG"), rule("read", action="TRAP")
    policy = read(tmp_path, profile(*rules))
    assert answer(policy, "read", 1) == 0x7FFC0000


def test_what_overlaps_with_another_answer_is_refused(tmp_path: Path) -> None:
    rules = rule("read", (0, "EQ", 1)), rule("read", (1, "EQ", 1), action="LOG")
    assert "exclude each other" in problems(tmp_path, json.dumps(profile(*rules)))[0]


def test_numbers_above_the_highest_get_enosys_from_runc_alone(tmp_path: Path) -> None:
    document = profile(rule("openat"), rule("faccessat2"))
    asked = "epoll_pwait2", "clone3"
    policy = read(tmp_path, document, Reading(runtime=Runtime.RUNC))
    assert [answer(policy, name) for name in asked] == [ERRNO | 38, ERRNO | 1]
    policy = read(tmp_path, document)
    assert [answer(policy, name) for name in asked] == [ERRNO | 1] * 2


def test_runc_adds_enosys_where_that_is_the_default_as_well(tmp_path: Path) -> None:
    """It shows on i386 alone: calls through socketcall do not count for the highest there."""
    arches = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    document = profile(rule("openat"), rule("accept4"), architectures=arches, defaultErrnoRet=38)
    for runtime, expected in ((Runtime.RUNC, ERRNO | 38), (Runtime.CRUN, ALLOW)):
        policy = read(tmp_path, document, Reading(runtime=runtime))
        assert answer(policy, "accept4") == ALLOW
        assert answer(policy, "accept4", abi="i386") == expected


def test_runc_adds_nothing_where_the_default_lets_through_or_asks_a_tracer(tmp_path: Path) -> None:
    for action, kind in (("TRACE", ActionKind.TRACE), ("LOG", ActionKind.LOG)):
        document = profile(rule("openat"), defaultAction=f"SCMP_ACT_{action}")
        policy = read(tmp_path, document, Reading(runtime=Runtime.RUNC))
        assert answer(policy, "openat2") & 0xFFFF0000 == kind.value


def test_minus_one_is_above_no_number_to_runc(tmp_path: Path) -> None:
    """It compares with sign where x86_64 stands alone: what is no call gets the default."""
    policy = read(tmp_path, profile(rule("openat")), Reading(runtime=Runtime.RUNC))
    x86_64 = ABIS["x86_64"]
    call = Call(0xFFFFFFFF, x86_64.audit_arch, (0,) * 6)
    assert meaning(policy, x86_64, TABLES).answer(call) == ERRNO | 1


def test_conditions_on_the_container(tmp_path: Path) -> None:
    entry = rule("reboot")
    document = profile({**entry, "includes": {"caps": ["CAP_SYS_BOOT"], "minKernel": "5.10"}})
    asked = [
        (None, None, ERRNO | 1),
        (frozenset({"CAP_SYS_BOOT"}), None, ALLOW),
        (frozenset({"CAP_SYS_BOOT"}), (5, 10), ALLOW),
        (frozenset({"CAP_SYS_BOOT"}), (5, 9), ERRNO | 1),
    ]
    for caps, kernel, expected in asked:
        reading = Reading(caps=caps, kernel=kernel, runtime=Runtime.CRUN)
        assert answer(read(tmp_path, document, reading), "reboot") == expected
    document = profile({**entry, "excludes": {"arches": ["amd64"]}})
    assert answer(read(tmp_path, document), "reboot") == ERRNO | 1
    document = profile({**entry, "excludes": {"minKernel": "5.10"}})
    for kernel, expected in (((5, 9), ALLOW), ((5, 10), ERRNO | 1)):
        reading = Reading(kernel=kernel, runtime=Runtime.CRUN)
        assert answer(read(tmp_path, document, reading), "reboot") == expected


def notes_on(where: Path, document: dict[str, Any], reading: Reading = CRUN) -> list[str]:
    path = where / "profile.json"
    path.write_text(json.dumps(document, indent=1))
    return [note.message for note in load_policy(path, TABLES, reading)[1]]


def test_a_kernel_that_podman_does_not_ask_for(tmp_path: Path) -> None:
    document = profile({**rule("reboot"), "includes": {"minKernel": "5.10"}})
    old = Reading(kernel=(5, 9), runtime=Runtime.CRUN)
    assert notes_on(tmp_path, document) == []
    [note] = notes_on(tmp_path, document, old)
    assert "do not look at minKernel" in note


def test_errors_by_name_are_podmans_and_come_first(tmp_path: Path) -> None:
    rules = [
        {**rule("read", action="ERRNO"), "errno": "EACCES", "errnoRet": 13},
        {**rule("write", action="ERRNO"), "errno": "EACCES"},
        {**rule("open", action="ERRNO"), "errno": "77", "errnoRet": 5},
    ]
    document = profile(*rules, defaultErrno="ENOSYS", defaultErrnoRet=38)
    policy = read(tmp_path, document)
    asked = "read", "write", "open", "close"
    assert [answer(policy, name) for name in asked] == [ERRNO | n for n in (13, 13, 77, 38)]
    found = notes_on(tmp_path, document)
    assert [note.partition(";")[2] for note in found] == [
        " Docker takes 1: say the same as errnoRet",
        " Docker takes 5: say the same as errnoRet",
    ]
    wrong = profile({**rule("read", action="ERRNO"), "errno": "EACCESS"})
    assert "unknown errno 'EACCESS' (did you mean" in problems(tmp_path, json.dumps(wrong))[0]


def test_a_bundle_has_no_fields_of_engines(tmp_path: Path) -> None:
    entry = rule("read", action="ERRNO") | {"errno": "EACCES", "excludes": {"arches": ["amd64"]}}
    document = {"ociVersion": "1.2.0", "linux": {"seccomp": profile(entry, defaultErrnoRet=5)}}
    assert answer(read(tmp_path, document), "read") == ERRNO | 1
    found = notes_on(tmp_path, document)
    assert ["'errno'" in found[0], "'excludes'" in found[1]] == [True, True]


def test_what_no_runtime_starts_is_read_with_a_note(tmp_path: Path) -> None:
    document = profile(rule("read", action="ERRNO") | {"errnoRet": 5000})
    assert answer(read(tmp_path, document), "read") == ERRNO | 4095
    assert "no container starts with this" in notes_on(tmp_path, document)[0]


def test_runcs_enosys_is_not_about_ways_through_socketcall(tmp_path: Path) -> None:
    arches = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    document = profile(rule("openat"), architectures=arches)
    policy = read(tmp_path, document, Reading(runtime=Runtime.RUNC))
    assert answer(policy, "recvmmsg", abi="i386") == ERRNO | 38
    assert answer(policy, "socketcall", 19, abi="i386") == ERRNO | 1


def test_a_listener_and_who_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(
        json.dumps(profile(rule("mount", action="NOTIFY"), listenerPath="/run/it.sock"))
    )
    policy, notes = load_policy(path, TABLES, CRUN)
    assert policy.flags.names == ("spec_allow", "new_listener")
    assert [note.kind for note in notes] == [Problem.NO_LISTENER]
    text = json.dumps(profile(rule("write", action="NOTIFY")))
    assert "write" in problems(tmp_path, text)[0]


@pytest.mark.parametrize(
    ("around", "ending"),
    [
        (lambda one: {"ociVersion": "1.2.0", "process": {}, "linux": {"seccomp": one}}, "json"),
        (lambda one: {"kind": "SeccompProfile", "metadata": {"name": "x"}, "spec": one}, "yaml"),
    ],
)
def test_profiles_in_other_objects(around: Any, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"whole.{ending}"
    path.write_text(json.dumps(around(profile(rule("read")))))
    policy, _ = load_policy(path, TABLES, CRUN)
    assert answer(policy, "read") == ALLOW
    assert answer(policy, "write") == ERRNO | 1


def test_a_profile_on_another_is_refused(tmp_path: Path) -> None:
    spec = profile(rule("read"), baseProfileName="runc-v1.2")
    text = json.dumps({"kind": "SeccompProfile", "spec": spec})
    assert "another profile is its base" in problems(tmp_path, text)[0]


@pytest.mark.parametrize("text", ["[]", '{"kind": "SeccompProfile"}', '{"linux": {"seccomp": 1}}'])
def test_what_is_no_profile(text: str, tmp_path: Path) -> None:
    reading = Reading("oci")
    assert "is no seccomp profile" in problems(tmp_path, text, reading)[0]


HOSTS = {
    "x86_64": ["i386", "x32"],
    "aarch64": ["arm"],
    "riscv64": [],
    "ppc64le": [],
    "loongarch64": [],
    "s390x": ["s390"],
    "mips64": ["mips", "mips64n32"],
    "mips64n32": ["mips", "mips64"],
    "mips64el": ["mipsel", "mips64n32el"],
    "mips64n32el": ["mipsel", "mips64el"],
}
"""Machines of Docker's default, and the ABIs that go with each."""


def proved(policy: ResolvedPolicy, code: Code, abis: tuple[str, ...]) -> Proof | Difference:
    ours = meaning(policy, ABIS[abis[0]], TABLES)
    left, right = (
        oci_profiles.but_what_it_sees_in_its_own_way(side, abis) for side in (ours, code)
    )
    return prove(left, right)


UNKNOWN = {"loongarch64": {"memfd_secret"}}
"""Calls that libseccomp 2.6.0 does not know of an ABI."""


@needs_libseccomp
@needs_corpus
@pytest.mark.parametrize("host", long_but([*HOSTS][:1], HOSTS, "more hosts"))
def test_dockers_default_is_what_libseccomp_makes_of_it(host: str, tmp_path: Path) -> None:
    """But for calls that it does not know, and those that it sees in its own way."""
    document = json.loads((OCI / "moby-default.json").read_text())
    for one in document["syscalls"]:
        one["names"] = [name for name in one["names"] if name not in UNKNOWN.get(host, ())]
    asked = document, host, HOSTS[host]
    [code] = oci_profiles.programs([asked], caps=oci_profiles.DOCKER)
    assert code is not None
    code = oci_profiles.unspoiled(code, (0, ALLOW, ERRNO | 1, ERRNO | 38))
    reading = Reading(runtime=Runtime.CRUN, abis=(host,))
    policy = read(tmp_path, document, reading)
    assert not isinstance(proved(policy, code, (host, *HOSTS[host])), Difference)


@needs_corpus
@pytest.mark.parametrize(
    "name",
    long_but(
        ["example"], ["conditional_include", "default-old-format", "example"], "more profiles"
    ),
)
def test_the_corpus_is_converted(name: str) -> None:
    """`convert` proves what it writes."""
    assert "syscalls:" in convert(OCI / f"{name}.json", TABLES).text


@needs_corpus
@pytest.mark.long("the largest profile, compiled twice")
def test_dockers_default_builds_as_it_is_and_converted(tmp_path: Path) -> None:
    default = OCI / "moby-default.json"
    run = inside("convert", default, "-o", tmp_path / "ours.yml")
    assert run.code == 0, run.err
    for policy, out in ((default, "theirs"), (tmp_path / "ours.yml", "ours")):
        options = "--arch", "x86_64", "--format", "bpf", "-o", tmp_path / out
        run = inside("build", policy, *options)
        assert run.code == 0, run.err
    theirs = (tmp_path / "theirs" / "moby-default.x86_64.bpf").read_bytes()
    assert (tmp_path / "ours" / "ours.x86_64.bpf").read_bytes() == theirs
    assert "[ignored-bits]" not in run.err


_NAMES = (
    *("read", "socket", "clone", "personality", "ioctl", "accept", "semop", "shmat", "recvmmsg"),
    *("prctl", "mmap"),
)
_VALUES = (0, 1, 5, 38, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, 1 << 63, (1 << 64) - 1)
_ARCHES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "s390x": ("SCMP_ARCH_S390X",),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "loongarch64": ("SCMP_ARCH_LOONGARCH64",),
    "mips64el": ("SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"),
}


def random_profile(rng: random.Random, host: str) -> dict[str, Any]:
    """Draw a profile; it compares by order in no more than one rule of a call."""
    rules = []
    for _ in range(rng.randint(1, 6)):
        ops = ["EQ", "NE", "MASKED_EQ"]
        args = [
            {
                "index": index,
                "op": f"SCMP_CMP_{op}",
                "value": rng.choice(_VALUES),
                **({"valueTwo": rng.choice(_VALUES[:6])} if op == "MASKED_EQ" else {}),
            }
            for index in rng.choices(range(3), k=rng.randint(0, 3))
            for op in [rng.choice(ops)]
        ]
        names = rng.sample(_NAMES, rng.randint(1, 2))
        rules.append({"names": names, "action": "SCMP_ACT_ALLOW", "args": args})
    name = rng.choice([one for one in _NAMES if not any(one in r["names"] for r in rules)])
    op = rng.choice(["LT", "LE", "GE", "GT"])
    rules.append(rule(name, (0, op, rng.choice(_VALUES)), (2, op, 5), action="LOG"))
    return profile(*rules, architectures=list(_ARCHES[host]), defaultErrnoRet=5)


def differing(count: int, seed: int, where: Path) -> tuple[int, list[dict[str, Any]]]:
    """Return how many random profiles were compared, and those that differ."""
    rng = random.Random(seed)
    asked = [
        (random_profile(rng, host), host, HOSTS[host] if len(_ARCHES[host]) > 1 else [])
        for host in rng.choices(list(_ARCHES), k=count)
    ]
    compared = 0
    found = []
    codes = oci_profiles.programs(asked, caps=oci_profiles.DOCKER)
    for (document, host, others), code in zip(asked, codes, strict=True):
        assert isinstance(code, Code)
        if not oci_profiles.loads_number(code):
            continue
        compared += 1
        policy = read(where, document, Reading(runtime=Runtime.CRUN, abis=(host,)))
        if isinstance(proved(policy, code, (host, *others)), Difference):
            found.append(document)
    return compared, found


@pytest.mark.long("reads many policies")
@needs_libseccomp
def test_random_profiles_are_what_libseccomp_makes_of_them(tmp_path: Path) -> None:
    compared, found = differing(40, 1, tmp_path)
    assert compared > 20
    assert not found
