"""Programs that runc, crun and Podman install, against what we say that their profiles mean.

Each is proved equal to ours for every number, argument and ABI. Where it is not, the test says
which profiles these are, and that a note tells.
"""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import engines
import oci_profiles
import pytest
from bundles import COMMANDS, configure, lay_out
from corpus import SHARED
from oci_samples import ENGINE, PLAIN, X86, profile, random_profile, rule
from proving import TABLES
from runtime_filters import installed
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.filters.combine.amend import amend
from seccompgen.formats import load_policy
from seccompgen.formats.amending import ChangedRule
from seccompgen.formats.losses import UNNAMED_VALUES
from seccompgen.verify import Difference, meaning, prove

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.verify import Code

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the profiles are for x86_64"),
    pytest.mark.skipif(os.geteuid() != 0, reason="starts containers, as root"),
]
X86_64 = ABIS["x86_64"]
CAPS = oci_profiles.DOCKER | {"CAP_SYS_ADMIN"}
MIXED_UP = "libseccomp up to 2.6 can answer calls"
NAMES_NONE = "the profile names no call of"


@pytest.fixture(scope="module", params=COMMANDS)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    for tool in (request.param, "strace"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool}")
    return Runtime(request.param)


@pytest.fixture(scope="module")
def bundle() -> Iterator[Path]:
    with TemporaryDirectory() as place:
        lay_out(Path(place))
        yield Path(place)


class Compared(NamedTuple):
    """``said`` is why a runtime or we refuse a profile; ``notes`` are ours."""

    theirs: Code | None
    ours: bool
    differ: Difference | None
    notes: list[str]
    said: str

    def noted(self, text: str) -> bool:
        return any(text in note for note in self.notes)


def compared(
    document: dict[str, Any], runtime: Runtime, bundle: Path, handed: dict[str, Any] | None = None
) -> Compared:
    """Compare what ``document`` means with the program of the profile that a runtime is handed."""
    configure(bundle, ["/bin/echo"], seccomp=handed or document)
    theirs, said = installed(runtime.value, bundle)
    path = bundle / "profile.json"
    path.write_text(json.dumps(document, indent=1))
    reading = Reading(runtime=runtime, abis=("x86_64",), caps=frozenset(CAPS))
    try:
        policy, notes = load_policy(path, TABLES, reading)
    except InputError as error:
        return Compared(theirs, False, None, [], str(error))
    if theirs is None:
        return Compared(None, True, None, [], said)
    left, right = (
        oci_profiles.but_what_it_sees_in_its_own_way(side, ["x86_64"])
        for side in (meaning(policy, X86_64, TABLES), theirs)
    )
    found = prove(left, right)
    differ = found if isinstance(found, Difference) else None
    return Compared(theirs, True, differ, [note.message for note in notes], said)


REFUSED = {("default-is-kill-with-a-number", Runtime.CRUN)}
STATED = {
    ("the-highest-is-low", Runtime.RUNC): NAMES_NONE,
    ("what-goes-through-socketcall", Runtime.RUNC): NAMES_NONE,
}
"""Where our meaning is not the runtime's, and the note that says so."""


@pytest.mark.parametrize("name", PLAIN)
def test_the_program_of_a_runtime_is_ours(name: str, runtime: Runtime, bundle: Path) -> None:
    found = compared(PLAIN[name], runtime, bundle)
    if (name, runtime) in REFUSED:
        assert not found.ours
        assert found.theirs is None
        return
    assert found.theirs, found.said
    assert found.ours, found.said
    note = STATED.get((name, runtime))
    assert bool(found.differ) == bool(note), found
    assert not note or found.noted(note)


@pytest.mark.skipif(not (SHARED / "oci").is_dir(), reason="needs ../shared/corpus")
@pytest.mark.parametrize("name", ["moby-default", "conditional_include", "default-old-format"])
def test_the_corpus(name: str, runtime: Runtime, bundle: Path) -> None:
    """Docker takes out what is not for the container before a runtime sees a profile."""
    document = json.loads((SHARED / "oci" / f"{name}.json").read_text())
    found = compared(document, runtime, bundle, kept_by_docker(document))
    assert found.theirs, found.said
    assert found.ours, found.said
    assert found.differ is None


def kept_by_docker(document: dict[str, Any]) -> dict[str, Any]:
    """Return the profile that Docker hands a runtime, in the form of the specification."""
    kept = [one for one in document["syscalls"] if oci_profiles.kept(one, "x86_64", CAPS)]
    rules = [
        {"names": one.get("names") or [one["name"]], **{key: one[key] for key in keys}}
        for one in kept
        for keys in [one.keys() & {"action", "errnoRet", "args"}]
    ]
    listed = X86 if "archMap" in document else document.get("architectures", [])
    handed = profile(*rules, defaultAction=document["defaultAction"], architectures=listed)
    if "defaultErrnoRet" in document:
        handed["defaultErrnoRet"] = document["defaultErrnoRet"]
    return handed


@pytest.mark.skipif(not (SHARED / "oci").is_dir(), reason="needs ../shared/corpus")
@pytest.mark.parametrize(
    ("rules", "accepts"),
    [
        (("fsopen fsconfig", "perf_event_open", "vmsplice splice"), frozenset[str]()),
        (("socket when family == AF_ALG",), frozenset({UNNAMED_VALUES})),
        (("socket when family == AF_ALG",), frozenset[str]()),
        (("unshare when unshare_flags & CLONE_NEWUSER",), frozenset[str]()),
        (
            ("socket when family == AF_NETLINK and protocol == NETLINK_NETFILTER",),
            frozenset({UNNAMED_VALUES}),
        ),
    ],
)
def test_an_amended_profile_is_what_was_proved(
    rules: tuple[str, ...], accepts: frozenset[str], runtime: Runtime, bundle: Path
) -> None:
    """The program in force is that of the changed file, whose change `amend` proved."""
    path = bundle / "docker.json"
    shutil.copyfile(SHARED / "oci/moby-default.json", path)
    words = [ChangedRule.parse(rule) for rule in rules]
    reading = Reading(abis=("x86_64",))
    found = amend(str(path), words, TABLES, reading, accepts=accepts)
    document = json.loads(found.after)
    assert document != json.loads(found.before)
    same = compared(document, runtime, bundle, kept_by_docker(document))
    assert same.theirs, same.said
    assert same.differ is None


def test_random_profiles(runtime: Runtime, bundle: Path) -> None:
    """Order comparisons of several rules are libseccomp's to mix up; a note tells each time."""
    rng = random.Random(1)
    same = mixed = 0
    for _ in range(60):
        document = random_profile(rng)
        found = compared(document, runtime, bundle)
        if not found.ours:
            assert "exclude each other" in found.said, document
            continue
        assert found.theirs, (found.said, document)
        if found.differ:
            assert found.noted(MIXED_UP) or found.noted(NAMES_NONE), document
            mixed += 1
        else:
            same += 1
    assert same > 40
    assert 0 < mixed < 10


def test_what_libseccomp_mixes_up(runtime: Runtime, bundle: Path) -> None:
    """Its program allows a call that no rule allows: the second argument is compared as the first.

    We are right by the rules; the program is what is in force. So there is a note.
    """
    rules = rule("read", (0, "LT", 3), (1, "EQ", 2)), rule("read", (0, "GT", 3))
    found = compared(profile(*rules), runtime, bundle)
    assert found.theirs, found.said
    assert found.differ
    assert found.noted(MIXED_UP)
    call = found.differ.call
    first, second = call.args[:2]
    matches = (first < 3 and second == 2) or first > 3
    assert (found.differ.left == 0x7FFF0000) == matches
    assert (found.differ.right == 0x7FFF0000) != matches


def test_errors_that_libseccomp_refuses(runtime: Runtime, bundle: Path) -> None:
    document = profile(rule("ptrace", action="ERRNO", errnoRet=4095))
    found = compared(document, runtime, bundle)
    assert found.theirs is None
    assert found.ours
    path = bundle / "profile.json"
    _, notes = load_policy(path, TABLES, Reading(runtime=runtime))
    assert any("no container starts with this" in note.message for note in notes)


@pytest.mark.parametrize("name", ENGINE)
def test_podman_hands_on_what_we_read(name: str, bundle: Path) -> None:
    """Its config.json means to crun what the file that Podman was given means to us."""
    for tool in ("podman", "crun"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool}")
    document, stated = ENGINE[name]
    (bundle / "given.json").write_text(json.dumps(document))
    with TemporaryDirectory() as place, engines.podman(Path(place) / "podman") as podman:
        options = ("--name", "demo", "--network", "none", "--cap-drop", "all")
        caps = [option for cap in sorted(CAPS) for option in ("--cap-add", cap)]
        secured = ("--security-opt", f"seccomp={bundle}/given.json")
        root = ("--rootfs", str(bundle / "rootfs"), "/bin/echo")
        said = podman("create", *options, *caps, *secured, *root)
        said += podman("init", "demo")
        found = [
            json.loads(file.read_text())
            for file in Path(place).rglob("config.json")
            if '"linux"' in file.read_text()
        ]
        podman("rm", "--force", "demo")
    assert found, said
    (config,) = found
    handed = bundle / "handed.json"
    handed.write_text(json.dumps(config))
    reading = Reading(runtime=Runtime.CRUN, abis=("x86_64",), caps=frozenset(CAPS))
    given, notes = load_policy(bundle / "given.json", TABLES, reading)
    is_handed, _ = load_policy(handed, TABLES, reading)
    differ = prove(meaning(given, X86_64, TABLES), meaning(is_handed, X86_64, TABLES))
    assert isinstance(differ, Difference) == bool(stated)
    assert not stated or any(stated in note.message for note in notes)
