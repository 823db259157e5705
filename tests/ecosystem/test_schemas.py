"""Container profiles by the OCI's own schema, and the page's Pod by Kubernetes'."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import ROOT, inside
from corpus import NAMES, corpus, translated
from longer import long_but
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.ecosystem

# Debian has it in golang-github-opencontainers-specs-dev.
SCHEMAS = Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema")
needs_schemas = pytest.mark.skipif(
    not SCHEMAS.is_dir(), reason="needs golang-github-opencontainers-specs-dev"
)
STOCK = ["no_network", "no_exec", "compute_only", "web_worker", "sandboxed_code"]


@cache
def seccomp() -> Any:
    """Return what validates a ``linux.seccomp``; unlike the schema itself, it knows all fields."""
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    draft = pytest.importorskip("referencing.jsonschema").DRAFT4

    def retrieve(name: str) -> Any:
        document = closed(json.loads((SCHEMAS / name).read_text()))
        return referencing.Resource(contents=document, specification=draft)

    registry = referencing.Registry(retrieve=retrieve)
    where = {"$ref": "config-linux.json#/linux/properties/seccomp"}
    return jsonschema.Draft4Validator(where, registry=registry)


def closed(schema: Any) -> Any:
    """Return a schema whose objects have no other properties than it lists."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        whole.setdefault("additionalProperties", False)
    return whole


def mistakes(profile: Any) -> list[str]:
    """Return where a profile is not as the schema says."""
    return [error.json_path for error in seccomp().iter_errors(profile)]


def exported(policy: str, where: Path) -> dict[str, Any]:
    """Return the profiles of a policy by the ABI's name."""
    (where / "demo.yml").write_text(policy)
    run = inside("build", "demo.yml", "--format", "oci", "-o", "out", cwd=where)
    assert run.code == 0, run.err
    files = sorted((where / "out").iterdir())
    return {path.name.split(".")[1]: json.loads(path.read_text()) for path in files}


@needs_schemas
@pytest.mark.parametrize("name", long_but(["no_exec"], STOCK, "the same with longer profiles"))
def test_stock_policies(name: str, tmp_path: Path) -> None:
    arches = "[x86_64, aarch64, riscv64]"
    head = f"include: [{ROOT}/policies/{name}.yml]\narches: {arches}\n"
    profiles = exported(head + "bad_arch_action: kill_thread\n", tmp_path)
    assert [mistakes(profile) for profile in profiles.values()] == [[], [], []]


@needs_schemas
@pytest.mark.parametrize("name", NAMES[::6])
def test_policies_of_the_corpus(name: str, tmp_path: Path) -> None:
    policy = {**translated(corpus()[name]), "bad_arch_action": "kill_thread"}
    silence = (
        "# lint: ignore[ignored-bits]: profiles compare 64 bits, and so did those of the corpus"
    )
    profiles = exported(f"{silence}\n{json.dumps(policy)}", tmp_path)
    assert [mistakes(profile) for profile in profiles.values()] == [[]]


DEMO = """
arches: [x86_64, loongarch64]
default_action: errno(EPERM)
bad_arch_action: kill_thread
flags: [log]
syscalls:
- {action: trace(7), names: [mkdirat]}
- action: allow
  names_with_args:
  # lint: ignore[ignored-bits]: the largest value that a profile can have
  - name: personality
    arguments:
    - {argument: 0, operation: Equal, value: 0xFFFFFFFFFFFFFFFF, width: 64}
  - {name: fcntl, arguments: [{argument: 1, operation: Equal, value: 3, width: 32}]}
"""


@needs_schemas
def test_the_schema_of_1_2_has_no_loongarch64(tmp_path: Path) -> None:
    """The only thing wrong there; a newer one has it."""
    profiles = exported(DEMO, tmp_path)
    assert mistakes(profiles["x86_64"]) == []
    assert mistakes(profiles["loongarch64"]) in ([], ["$.architectures[0]"])


def rule_of(profile: Any, name: str) -> Any:
    return next(rule for rule in profile["syscalls"] if name in rule["names"])


DAMAGE: dict[str, Callable[[Any], object]] = {
    "$.defaultAction": lambda made: made.update(defaultAction="SCMP_ACT_EPERM"),
    "$.defaultErrnoRet": lambda made: made.update(defaultErrnoRet="EPERM"),
    "$.architectures[0]": lambda made: made.update(architectures=["x86_64"]),
    "$.flags[0]": lambda made: made.update(flags=["LOG"]),
    "$.syscalls[0].names": lambda made: made["syscalls"][0].update(names=[]),
    "$.syscalls[0].errnoRet": lambda made: made["syscalls"][0].update(errnoRet=-1),
    "$.syscalls[0]": lambda made: made["syscalls"][0].update(errno=7),
    "$.syscalls[1].args[0]": lambda made: made["syscalls"][1]["args"][0].pop("value"),
    "$.syscalls[1].args[0].value": lambda made: made["syscalls"][1]["args"][0].update(value=2**64),
    "$.syscalls[1].args[0].op": lambda made: made["syscalls"][1]["args"][0].update(op="EQ"),
    "$": lambda made: made.update(archMap=[]),
}


@needs_schemas
@pytest.mark.parametrize("where", DAMAGE)
def test_a_damaged_profile_is_refused(where: str, tmp_path: Path) -> None:
    profile = exported(DEMO, tmp_path)["x86_64"]
    profile["syscalls"] = [rule_of(profile, "mkdirat"), rule_of(profile, "personality")]
    assert mistakes(profile) == []
    DAMAGE[where](profile)
    assert mistakes(profile) == [where]


# --- Kubernetes ----------------------------------------------------------------------------------


def pod() -> Any:
    """Return the Pod that docs/oci.md shows."""
    text = (ROOT / "docs" / "oci.md").read_text()
    (block,) = re.findall(r"^```yaml\n# pod\.yml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return YAML(typ="safe", pure=True).load(block)


@cache
def kubernetes() -> Any:
    return pytest.importorskip("kubernetes_validate")


def releases() -> list[str]:
    """Return the releases of Kubernetes whose schemas are here."""
    return list(kubernetes().utils.all_versions())


def test_kubernetes_takes_the_pod_of_the_page() -> None:
    assert len(releases()) > 1
    for release in releases():
        kubernetes().validate(pod(), release, strict=True)


def test_the_profile_of_the_pod_is_where_the_page_puts_it() -> None:
    """The kubelet wants a path below its own directory, and the page says where the file goes."""
    settings = pod()["spec"]["securityContext"]["seccompProfile"]
    assert settings["type"] == "Localhost"
    path = Path(settings["localhostProfile"])
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert f"/var/lib/kubelet/seccomp/{path}" in (ROOT / "docs" / "oci.md").read_text()


def misspelt(document: Any) -> Any:
    settings = document["spec"]["securityContext"]["seccompProfile"]
    settings["localHostProfile"] = settings.pop("localhostProfile")
    return document


def misplaced(document: Any) -> Any:
    document["spec"]["seccompProfile"] = document["spec"]["securityContext"].pop("seccompProfile")
    return document


def untyped(document: Any) -> Any:
    del document["spec"]["securityContext"]["seccompProfile"]["type"]
    return document


@pytest.mark.parametrize("damage", [misspelt, misplaced, untyped])
def test_kubernetes_refuses_a_wrong_pod(damage: Callable[[Any], Any]) -> None:
    wrong = damage(copy.deepcopy(pod()))
    for release in releases():
        with pytest.raises(kubernetes().ValidationError):
            kubernetes().validate(wrong, release, strict=True)
