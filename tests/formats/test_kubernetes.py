"""Profiles among Kubernetes' objects: each is found by its name, and keeps its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command import inside
from proving import TABLES
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.core.model import ActionKind
from seccompgen.formats import load_policy
from seccompgen.formats.oci.kubernetes import objects

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
---
apiVersion: v1
kind: Service
metadata:
  name: web
---
kind: SeccompProfile
metadata:
  labels:
    name: nobody
  name: first
spec:
  defaultAction: SCMP_ACT_ERRNO
  syscalls:
  - {names: [read], action: SCMP_ACT_ALLOW}
--- # another
kind: ConfigMap
metadata:
  name: several
data:
  second.json: |
    {"defaultAction": "SCMP_ACT_ERRNO",

     "syscalls": [{"names": ["write"], "action": "SCMP_ACT_ALLO"}]}
  notes: |
    nothing
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "objects.yaml"
    path.write_text(FILE)
    return path


def problems(path: Path, reading: Reading) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_policy(path, TABLES, reading)
    return [str(one).partition(": ")[2] or str(one) for one in caught.value.diagnostics]


def test_each_object_is_a_policy_under_its_name(file: Path) -> None:
    assert "name one with --filter" in problems(file, Reading())[0]
    policy, notes = load_policy(file, TABLES, Reading(thread="first"))
    allowed = {rule.name for rule in policy.own_rules if rule.action.kind is ActionKind.ALLOW}
    assert allowed == {"read"}
    left_out = next(one for one in notes if "no profiles" in one.message)
    assert left_out.position
    assert (left_out.position.line, left_out.message.split(": ")[1]) == (2, "Service web")


def test_what_is_wrong_is_told_where_it_stands_in_the_file(file: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_policy(file, TABLES, Reading(thread="second.json"))
    (found,) = caught.value.diagnostics
    assert found.position
    assert FILE.split("\n")[found.position.line - 1][found.position.column - 1 :].startswith(
        '"SCMP_ACT_ALLO"'
    )


def test_convert_writes_all_of_them(file: Path) -> None:
    file.write_text(FILE.replace("ACT_ALLO", "ACT_ALLOW").replace("ALLOWW", "ALLOW"))
    assert inside("convert", file.name, "-o", "out/", cwd=file.parent).code == 0
    assert {one.name for one in (file.parent / "out").iterdir()} == {"first.yml", "second.json.yml"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("kind: Service\n---\nkind: Pod\n", "no object here is a SeccompProfile"),
        ("{{- if .Values.on }}\n" + FILE, "a template of Helm"),
    ],
)
def test_other_files_are_told_what_they_are(text: str, wanted: str, file: Path) -> None:
    file.write_text(text + "# defaultAction: SCMP_ACT_ERRNO\n")
    assert wanted in problems(file, Reading())[0]


@pytest.mark.parametrize(
    "text", ["", "---\n", "kind: SeccompProfile\n", "---\nkind: SeccompProfile\n"]
)
def test_one_profile_alone_is_read_as_it_is(text: str) -> None:
    assert objects(text) is None
