"""Packages of Go with its compiler, and as programs that run."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import outer
import pytest
from command import inside
from compilers import FORBIDS, POLICY, build, do, go_module, needs
from extremes import BARE, LISTENING
from running_kernel import NEW_LISTENER
from seccompgen.languages import go

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.ecosystem, pytest.mark.usefixtures("distributions_first")]

GO = """package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"example.org/demo/demo"
)

func main() {
	if err := demo.Install(); err != nil {
		panic(err)
	}
	var all sync.WaitGroup
	for n := 0; n < 64; n++ {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := os.Mkdir("there", 0700); !errors.Is(err, syscall.EROFS) {
				panic(err)
			}
		}()
	}
	all.Wait()
	fmt.Println("confined")
	syscall.RawSyscall(SETNS, 0, 0, 0)
	fmt.Println("not refused")
}
"""


@needs("go")
def test_go(tmp_path: Path) -> None:
    """Without tsync in the policy: a thread that is free would make the directory."""
    policy = POLICY.replace("[tsync]", "[]")
    (tmp_path / "demo.yml").write_text(policy)
    assert inside("build", "demo.yml", "--format", "go", "-o", ".", cwd=tmp_path).code == 0
    (tmp_path / "main.go").write_text(GO.replace("SETNS", "308"))
    env = go_module(tmp_path)
    assert do("gofmt", "-l", ".", cwd=tmp_path) == ""
    assert do("go", "vet", "./...", cwd=tmp_path, env=env) == ""
    do("go", "build", "-o", "main", ".", cwd=tmp_path, env=env)
    run = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("confined\n", -signal.SIGSYS), run.stderr


@needs("go")
@pytest.mark.parametrize(("policy", "shown"), [(BARE, "<nil>"), (LISTENING, "3 <nil>")])
def test_what_go_returns(policy: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "demo.yml").write_text(policy)
    assert inside("build", "demo.yml", "--format", "go", "-o", ".", cwd=tmp_path).code == 0
    (tmp_path / "main.go").write_text(
        'package main\n\nimport (\n\t"fmt"\n\n\t"example.org/demo/demo"\n)\n\n'
        "func main() {\n\tfmt.Println(demo.Install())\n}\n"
    )
    env = go_module(tmp_path)
    assert do("gofmt", "-l", ".", cwd=tmp_path) == ""
    assert do("go", "vet", "./...", cwd=tmp_path, env=env) == ""
    assert do("go", "run", ".", cwd=tmp_path, env=env) == f"{shown}\n"


@needs("go")
def test_go_takes_the_program_of_its_architecture(tmp_path: Path) -> None:
    build(tmp_path, "go")
    env = go_module(tmp_path)
    ports = [line.split("/") for line in do("go", "tool", "dist", "list", cwd=tmp_path).split()]
    linux = {arch for system, arch in ports if system == "linux"}
    assert linux == {*go.TARGETS.values()}
    files = ["go", "list", "-f", "{{.GoFiles}}", "./demo"]
    for arch in sorted(linux):
        listed = do(*files, cwd=tmp_path, env={**env, "GOOS": "linux", "GOARCH": arch})
        assert listed == f"[install_linux.go program_linux_{arch}.go]\n"


@needs("go")
@pytest.mark.long("compiles Go's library for another architecture")
def test_go_compiles_for_another_width(tmp_path: Path) -> None:
    build(tmp_path, "go")
    env = {**go_module(tmp_path), "GOARCH": "386"}
    do("go", "build", "./demo", cwd=tmp_path, env=env)


@needs("go")
def test_go_without_a_program_does_not_compile(tmp_path: Path) -> None:
    build(tmp_path, "go", "--arch", "s390x")
    env = {**os.environ, **go_module(tmp_path)}
    run = subprocess.run(
        ["go", "build", "./demo"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "undefined: noProgramFitsThisGOARCH" in run.stderr


GO_ATTEMPT = """package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"example.org/demo/demo"
)

func main() {
	RESULT demo.Install()
	var errno syscall.Errno
	if errors.As(err, &errno) {
		fmt.Println("refused", int(errno))
	} else {
		fmt.Println("done", listener)
	}
	result, _, errno := syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
	if errno != 0 {
		fmt.Println(-int(errno))
	} else {
		fmt.Println(result)
	}
	io.ReadAll(os.Stdin)
}
"""


@needs("go")
@pytest.mark.parametrize(("name", "flags"), [("", 0), ("new_listener", NEW_LISTENER)])
def test_go_under_any_sandbox(name: str, flags: int, tmp_path: Path) -> None:
    (tmp_path / "demo.yml").write_text(FORBIDS.format(flags=name))
    assert inside("build", "demo.yml", "--format", "go", "-o", ".", cwd=tmp_path).code == 0
    result = "listener, err :=" if flags else "listener, err := -1,"
    (tmp_path / "main.go").write_text(GO_ATTEMPT.replace("RESULT", result))
    do("go", "build", "-o", "main", ".", cwd=tmp_path, env=go_module(tmp_path))
    told = []
    for rules in outer.SANDBOXES:
        seen = outer.attempt_program(rules, tmp_path / "main", nnp=os.geteuid() != 0)
        told.append(outer.check(rules, seen, flags, nnp=True))
    assert 5 < sum(told) < len(told)
