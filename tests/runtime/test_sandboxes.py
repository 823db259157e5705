"""Under any sandbox, install() raises, or the filter is in force: in Python and in C."""

from __future__ import annotations

import importlib
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import outer
import privileges
import pytest
import running_kernel as kernel
from command import inside
from outer import SYSTEMATIC, chance_sandbox, check, lying_sandbox
from running_kernel import ALLOW, KILL_PROCESS, NEW_LISTENER, TSYNC, TSYNC_ESRCH
from runtime_template import install, runtime

if TYPE_CHECKING:
    from pathlib import Path

    from outer import Rule

kernel.require_x86_64()

FLAGS = (0, 0, TSYNC, NEW_LISTENER, TSYNC | TSYNC_ESRCH | NEW_LISTENER)

BY_CHANCE = [*map(chance_sandbox, range(100))]
MORE = pytest.mark.weekly("more sandboxes that are made by chance")


@pytest.mark.parametrize(
    "sandboxes",
    [
        pytest.param([*SYSTEMATIC[::2], *BY_CHANCE[:20]], id="some"),
        pytest.param([*SYSTEMATIC, *BY_CHANCE], id="all", marks=MORE),
    ],
)
def test_python_under_any_sandbox(sandboxes: list[tuple[Rule, ...]]) -> None:
    root = privileges.gainable()
    told = []
    for seed, rules in enumerate(sandboxes):
        chance = random.Random(seed)
        flags, nnp = chance.choice(FLAGS), not root or chance.random() < 0.7
        loaded = chance.random() < 0.5

        def attempt(flags: int = flags, nnp: bool = nnp, loaded: bool = loaded) -> str:
            for name in [] if loaded else [*sys.modules]:
                if name.split(".")[0] in {"ctypes", "_ctypes"}:
                    del sys.modules[name]
            try:
                actions = (KILL_PROCESS, ALLOW)
                return f"done {install(outer.FILTER, flags, no_new_privs=nnp, actions=actions)}"
            except runtime.SeccompError as error:
                return f"refused {error.cause}"

        seen = outer.attempt(rules, attempt, nnp=not root)
        told.append(check(rules, seen, flags, nnp=nnp))
    assert 5 < sum(told) < len(told)


LYING = [*map(lying_sandbox, range(3000))]


@pytest.mark.long("one sandbox after the other")
@pytest.mark.parametrize(
    "sandboxes",
    [pytest.param(LYING[:40], id="some"), pytest.param(LYING, id="all", marks=MORE)],
)
def test_what_install_raises_is_a_seccomp_error(
    sandboxes: list[tuple[Rule, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a filter whose program is still to be imported, and its sentence still to be read."""
    (tmp_path / "demo.yml").write_text(POLICY.format(flags=""))
    built = inside("build", "demo.yml", "-o", "lied_to", cwd=tmp_path)
    assert built.code == 0, built.err
    monkeypatch.syspath_prepend(tmp_path)
    demo = importlib.import_module("lied_to.demo")
    error = importlib.import_module("lied_to._runtime").SeccompError

    def attempt() -> str:
        try:
            demo.install()
        except error as refusal:
            return f"refused {refusal.cause}" if str(refusal) else "raised nothing to say"
        except Exception as other:  # noqa: BLE001, RUF100 - it is what is looked for
            return f"raised {other!r}"
        return "done -1"

    seen = [outer.attempt(rules, attempt, nnp=True) for rules in sandboxes]
    assert [one.told for one in seen if one.told.startswith("raised")] == []
    confined = [check(rules, one, 0, nnp=True) for rules, one in zip(sandboxes, seen, strict=True)]
    assert len(sandboxes) // 4 < sum(confined) < len(sandboxes)


POLICY = """
arches: [x86_64]
default_action: allow
flags: [{flags}]
syscalls:
- {{action: errno(EDOM), names: [getppid]}}
"""
C = """
#include "demo.h"
int go(void) { int result = demo_install(); return result < 0 ? -errno : result; }
"""


@pytest.mark.long("one sandbox after the other")
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=MORE)])
@pytest.mark.parametrize(("name", "flags"), [("", 0), ("new_listener", NEW_LISTENER)])
def test_c_under_any_sandbox(name: str, flags: int, every: int, tmp_path: Path) -> None:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("needs gcc")
    (tmp_path / "demo.yml").write_text(POLICY.format(flags=name))
    run = inside("build", "demo.yml", "--format", "c", "-o", ".", cwd=tmp_path)
    assert run.code == 0, run.err
    (tmp_path / "demo.c").write_text(C)
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([gcc, *options, "-o", "demo.so", "demo.c"], cwd=tmp_path, check=True)
    outer.try_library(tmp_path / "demo.so", flags, outer.SANDBOXES[::every])
