"""Completion in bash as it runs, and what --install writes for each shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, seccompgen

# What readline does before it calls the function: the line, and its words as bash cuts them.
ASK = r"""
eval "$(seccompgen completion bash)"
compopt() { :; }
line=$1; shift
COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_seccompgen seccompgen
printf '%s\n' "${COMPREPLY[@]}"
"""


def completed(line: str, *words: str, cwd: Path = ROOT) -> list[str]:
    """Return what bash offers for the last of ``words``, by which it cuts ``line``."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", line, *(words or line.split(" "))],
        env={**os.environ, "PATH": path}, cwd=cwd, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not run.stderr
    return run.stdout.splitlines()


@pytest.mark.few(2, "makes projects and builds them")
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("seccompgen sysc", ["syscalls"]),
        ("seccompgen lint --arch loong", ["loongarch64", "loongarch32"]),
        ("seccompgen syscalls pidfd_", ["pidfd_getfd", "pidfd_open", "pidfd_send_signal"]),
        ("seccompgen verify compute_o", ["compute_only"]),
        ("seccompgen equiv no_exec web_", ["web_worker"]),
        ("seccompgen build --optimize sp", ["speed"]),
        ("seccompgen run --tra", ["--trace"]),
    ],
)
def test_bash_offers(line: str, wanted: list[str]) -> None:
    assert completed(line) == wanted


def test_bash_offers_groups_without_the_mark_that_it_cuts_off() -> None:
    assert completed("seccompgen syscalls @basic", *("seccompgen", "syscalls", "@", "basic")) == [
        "basic-io"
    ]


def test_bash_offers_files_beside_names(tmp_path: Path) -> None:
    (tmp_path / "web policies").mkdir()
    offered = completed("seccompgen lint web", cwd=tmp_path)
    assert sorted(offered) == ["web policies", "web_worker"]


def test_nothing_is_offered_for_what_is_no_command() -> None:
    assert completed("seccompgen nosuch x") == [""]


def install(home: Path, *args: str, **more: str) -> str:
    run = seccompgen(
        "completion", *args, "--install",
        env={"HOME": str(home), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": "", "ZDOTDIR": "", **more},
    )  # fmt: skip
    assert run.code == 0, run.err
    return run.out.replace(str(home), "~")


def test_bash_is_told_in_its_settings_once(tmp_path: Path) -> None:
    (tmp_path / "settings").write_bytes(b"alias \xff=1")
    (tmp_path / ".bashrc").symlink_to("settings")
    place = ".local/share/bash-completion/completions/seccompgen"
    assert install(tmp_path, "bash").splitlines() == [
        f"wrote ~/{place}",
        "added a line to ~/settings",
        "start bash anew to have it",
    ]
    added = f'\n# seccompgen completion --install\n. "{tmp_path}/{place}"\n'
    assert (tmp_path / ".bashrc").is_symlink()
    assert (tmp_path / "settings").read_bytes() == b"alias \xff=1" + added.encode()
    assert (tmp_path / place).read_text() == seccompgen("completion", "bash").out
    assert install(tmp_path, "bash") == "everything is up to date\n"


def test_zsh_is_told_where_the_function_is(tmp_path: Path) -> None:
    out = install(tmp_path, SHELL="/usr/bin/zsh")
    assert "start zsh anew to have it" in out
    directory = tmp_path / ".local/share/zsh/site-functions"
    assert (directory / "_seccompgen").read_text().startswith("#compdef seccompgen\n")
    assert f'fpath=("{directory}" $fpath)' in (tmp_path / ".zshrc").read_text()


def test_fish_looks_by_itself(tmp_path: Path) -> None:
    assert install(tmp_path, "fish", XDG_CONFIG_HOME=str(tmp_path / "c")).splitlines() == [
        "wrote ~/c/fish/completions/seccompgen.fish",
        "start fish anew to have it",
    ]


def test_a_shell_that_is_not_known_is_asked_for() -> None:
    run = seccompgen("completion", env={"SHELL": "/bin/tcsh"})
    assert (run.code, run.err) == (2, "which shell? Name one of bash, zsh, fish\n")
