"""Completion of the command line: the script for each shell, and where the shell loads it from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from click.shell_completion import (
    FishComplete,
    ShellComplete,
    add_completion_class,
    split_arg_string,
)

from seccompgen.io.outputs import Outputs
from seccompgen.io.reading import read_input

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

PROGRAM = "seccompgen"
_ANSWERS = "_SECCOMPGEN_COMPLETE"
"""The variable by which a script requests completions: ``bash_complete``."""

# bash splits words at characters such as @ and =, which are parts of our words: the script passes
# the whole line, and removes from each answer what bash has of the word already. Names of files may
# need quotes, which readline adds if it knows that there are files among the answers.
_BASH = r"""
_seccompgen() {
    local IFS=$'\n' answer line word cut
    line=${COMP_LINE:0:COMP_POINT}
    word=${line##*[[:space:]]}
    cut=${word%"${COMP_WORDS[COMP_CWORD]}"}
    answer=$(env COMP_WORDS="$line" COMP_CWORD="$word" _SECCOMPGEN_COMPLETE=bash_complete "$1") \
        || return
    COMPREPLY=()
    for line in $answer; do
        case $line in
            plain,*) COMPREPLY+=("${line#plain,}") ;;
            dir,*) compopt -o filenames; COMPREPLY+=($(compgen -d -- "$word")) ;;
            file,*) compopt -o filenames; COMPREPLY+=($(compgen -f -- "$word")) ;;
        esac
    done
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}
complete -F _seccompgen seccompgen
"""


# The function is named like its file: when zsh loads the file, it calls what the file defines, and
# from then on the function itself. click's own script does not answer the second request.
_ZSH = r"""
#compdef seccompgen
_seccompgen() {
    local answer
    local -a plain
    answer=$(env COMP_WORDS="${(j: :)words[1,CURRENT]}" COMP_CWORD="${words[CURRENT]}" \
        _SECCOMPGEN_COMPLETE=zsh_complete seccompgen) || return
    for answer in "${(@f)answer}"; do
        case $answer in
            plain,*) plain+=("${answer#plain,}") ;;
            dir,*) _files -/ ;;
            file,*) _files ;;
        esac
    done
    compadd -a plain
}
if [[ ${funcstack[1]} == _seccompgen ]]; then
    _seccompgen "$@"
else
    compdef _seccompgen seccompgen
fi
"""


class _Lines(ShellComplete):
    """A shell whose script passes the line up to the cursor, and gets lines ``type,value``."""

    def source(self) -> str:
        return self.source_template

    def get_completion_args(self) -> tuple[list[str], str]:
        before = split_arg_string(os.environ.get("COMP_WORDS", ""))[1:]
        word = os.environ.get("COMP_CWORD", "")
        return before[:-1] if word and before else before, word

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{item.value}"


class _Bash(_Lines):
    name = "bash"
    source_template = _BASH


class _Zsh(_Lines):
    name = "zsh"
    source_template = _ZSH


add_completion_class(_Bash)
add_completion_class(_Zsh)

SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": FishComplete}
"""The class for each shell, as click requires it."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The files in a home directory by which a shell completes ``seccompgen``."""

    outputs: Outputs
    settings: Path | None
    """The shell's own settings, if a line is added to them."""


def script(shell: str, command: click.Command) -> str:
    """Return the script by which ``shell`` completes ``command``."""
    return SHELLS[shell](command, {}, PROGRAM, _ANSWERS).source().strip() + "\n"


def installation(shell: str, command: click.Command, home: Path) -> Installation:
    """Return the files that make ``shell`` complete ``command`` for the user at ``home``.

    fish reads a directory of its user by itself; so does bash, but only if the package
    bash-completion is loaded. That is unknown, so a line in bash's settings loads the script; one
    in zsh's names the script's directory.
    """
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    text = script(shell, command)
    if shell == "fish":
        return Installation(_files({config / "fish/completions/seccompgen.fish": text}), None)
    if shell == "bash":
        path = data / "bash-completion/completions/seccompgen"
        return _with_settings({path: text}, home / ".bashrc", f'. "{path}"')
    directory = data / "zsh/site-functions"
    settings = Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"
    line = f'fpath=("{directory}" $fpath); autoload -Uz compinit && compinit'
    return _with_settings({directory / "_seccompgen": text}, settings, line)


def _with_settings(files: dict[Path, str], settings: Path, line: str) -> Installation:
    """Return an installation that adds a line to a shell's settings, unless they have it."""
    settings = settings.resolve()  # a link into a directory of settings remains a link
    had = read_input(settings).decode(errors="surrogateescape") if settings.is_file() else ""
    if line in had.splitlines():
        return Installation(_files(files), None)
    end = "" if not had or had.endswith("\n") else "\n"
    added = f"{had}{end}# seccompgen completion --install\n{line}\n"
    return Installation(_files({**files, settings: added}), settings)


def _files(files: dict[Path, str]) -> Outputs:
    return Outputs({path: text.encode(errors="surrogateescape") for path, text in files.items()})
