"""The workloads of `data/workloads.toml`: recorded small, and held to that with a richer run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import seccompgen
from seccompgen.kernel.powers import powers
from servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FILE = Path(__file__).parents[1] / "data" / "workloads.toml"
SECCOMPGEN = Path(sys.executable).with_name("seccompgen")
GRACE = 240.0
"""Seconds that a whole script may take, on a machine that does much else."""
_PATH = f"{os.environ['PATH']}:/usr/sbin"
_GROUPS = Path(seccompgen.__file__).with_name("policy") / "groups.toml"
_HARMLESS = (
    "arches: [x86_64]\ndefault_action: allow\nsyscalls:\n- {action: errno, names: [reboot]}\n"
)
"""A policy for a program that installs one while it is recorded: that is its marker."""
_REFUSED = re.compile(r"\] (\w+)\(.*(?:errno|kill|trap)")
_OFFER = re.compile(r"^#- action.*\n(?:#  .*\n)+", re.MULTILINE)

_PRELUDE = r"""
set -m # what is in the background would ignore SIGINT
URL=http://127.0.0.1:$PORT
confine() {
  case $HOW in
    record) words=("$SECCOMPGEN" record $OPTIONS -o "$POLICY" --) ;;
    enforce) words=("$SECCOMPGEN" run "$POLICY" --) ;;
    trace) words=("$SECCOMPGEN" run --trace $OPTIONS -o "$(mktemp refused.XXXXXX)" "$POLICY" --) ;;
    strace) words=(strace -f -qq -e 'raw=!clone3' -e signal=none -o "$(mktemp strace.XXXXXX)" --) ;;
    *) words=() ;;
  esac
  if [ $HOW = record ] && [ -e "$POLICY" ]; then
    words=("${words[@]::2}" --merge "$POLICY" "${words[@]:2}")
  fi
}
run() { confine; "${words[@]}" "$@"; local code=$?; [ $code = 0 ] || echo "exit code $code"; }
serve() {
  confine; "${words[@]}" "$@" > log 2>&1 & server=$!
  [ "${READY-unset}" ] || return
  for n in {1..900}; do
    if [ "${READY+set}" ]; then grep -q "$READY" log && return; else accepts $PORT && return; fi
    kill -0 $server 2> /dev/null || { wait $server; echo "did not start: $?"; return; }
    sleep 0.05
  done
  echo "is never ready"
}
beside() {
  "$@" > beside.log 2>&1 & beside=$!
  for n in {1..400}; do accepts $PORT2 && return; sleep 0.05; done
}
accepts() { (: < /dev/tcp/127.0.0.1/$1) 2> /dev/null; }
confined() { case $HOW in trace|strace) pgrep -oP $server;; *) echo $server;; esac; }
tell() { case $HOW in record) kill -$1 $server;; *) kill -$1 $(confined);; esac; }
stop() {
  tell $1 2> /dev/null
  for n in {1..150}; do kill -0 $server 2> /dev/null || break; sleep 0.1; done
  if kill -0 $server 2> /dev/null; then
    before=$(ticks); sleep 1
    echo "does not end by $1$([ $(($(ticks) - before)) -gt 30 ] && echo ', spins')"
    pkill -KILL -P $server; kill -KILL $server
  fi
  wait $server; echo "ended with $?"
}
ticks() { awk '{ print $14 + $15 }' /proc/$server/stat; }
code() { curl -s -m 10 -o /dev/null -w '%{http_code}\n' "$@"; }
load() {
  curl -s -m 10 --parallel --parallel-max 8 -o /dev/null -w '%{http_code}\n' "$1?[1-200]" \
    2> /dev/null | sort | uniq -c
}
"""


@dataclass(frozen=True)
class Workload:
    """A program, what is done with it, and the kinds that who knows it permits when offered.

    ``installs`` says that it installs the policy itself, as sandbox.policy below $SANDBOX.
    """

    name: str
    version: str
    small: str
    rich: str
    permits: Sequence[str]
    prepare: str = ""
    program: str = ""
    installs: bool = False


@dataclass(frozen=True)
class Turn:
    """A run: what it printed, what it logged, and a line for each call that was seen refused."""

    said: str
    log: str = ""
    refused: dict[str, str] = field(default_factory=dict)


@cache
def workloads() -> dict[str, Workload]:
    """Return all workloads, by name."""
    return {name: Workload(name, **one) for name, one in tomllib.loads(FILE.read_text()).items()}


def version(one: Workload, **environment: str) -> str:
    """Return the version of a workload's program; empty where that is not installed."""
    values = {**os.environ, "PYTHON": sys.executable, **environment, "PATH": _PATH}
    words = ["bash", "-c", one.version]
    done = subprocess.run(words, capture_output=True, text=True, env=values, check=False)
    found = re.search(r"\d+(\.\d+)+\w*|\d+", done.stdout) if not done.returncode else None
    return found[0] if found else ""


def turn(
    one: Workload, how: str, directory: Path, policy: Path, options: str = "", **environment: str
) -> Turn:
    """Run a workload ``how``: free, enforce or trace; record and strace are for the small run.

    It has process numbers of its own, and all of its processes end with it, so this takes root.
    """
    here = directory / "here"
    here.mkdir(parents=True)
    if how == "enforce" or one.installs:
        source = directory / "policy.yml"
        source.write_text(policy.read_text() if how == "enforce" else _HARMLESS)
        kind = "python" if one.installs else "bpf"
        built(source, directory / "sandbox", kind).check_returncode()
        (directory / "sandbox" / "__init__.py").touch()
    if how == "enforce":
        policy = directory / "sandbox" / "policy.x86_64.bpf"
    values = {
        "HOW": "free" if how == "enforce" and one.installs else how,
        "OPTIONS": options + (" --startup-marker" if one.installs else ""),
        "POLICY": str(policy),
        "SANDBOX": str(directory),
        "SECCOMPGEN": str(SECCOMPGEN),
        "PYTHON": sys.executable,
        "PATH": _PATH,
        "HOME": str(here),
        "LANG": "C.UTF-8",
        **{f"PORT{n}": str(free_port()) for n in ("", "2", "3")},
        **environment,
    }
    script = _PRELUDE + one.prepare + (one.small if how in {"record", "strace"} else one.rich)
    # Who started this may ignore them, as nohup and a shell's & do.
    own = ["env", "--default-signal=HUP,INT,QUIT,PIPE", "unshare", "--pid", "--fork"]
    own += ["--kill-child", "--mount-proc", "bash", "-c", script]
    with (directory / "said").open("w") as out, (directory / "errors").open("w") as errors:
        process = subprocess.Popen(
            own, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, cwd=here, env=values
        )
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            out.write("never ends\n")
        finally:
            process.kill()
            process.wait()
    refused: dict[str, str] = {}
    for line in _lines(here, "refused.*"):
        if found := _REFUSED.search(line):
            refused.setdefault(found[1], line)
    log = "\n".join([*_lines(here, "log"), *_lines(directory, "errors")])
    said = (directory / "said").read_text(errors="replace").replace(str(directory), "@")
    return Turn(said, log, refused)


def built(
    policy: Path, directory: Path, form: str, *options: str
) -> subprocess.CompletedProcess[bytes]:
    """Build a policy for this machine."""
    words: list[str | Path] = [SECCOMPGEN, "build", policy, "-o", directory, "--format", form]
    return subprocess.run([*words, "--arch", "x86_64", *options], capture_output=True, check=False)


def _lines(directory: Path, name: str) -> Iterator[str]:
    for file in sorted(directory.glob(f"**/{name}")):
        if file.is_file():
            yield from file.read_text(errors="replace").splitlines()


def taken_in(policy: str, permits: Iterable[str]) -> str:
    """Return a recorded policy with its offers of kinds ``permits`` made rules."""
    wanted = {*permits}

    def judged(offer: re.Match[str]) -> str:
        text = re.sub(" # .*", "", offer[0])
        names = re.search(r"names: \[(.*?)\]", text)
        kinds = {
            kind
            for name in re.findall(r"[@\w-]+", names[1] if names else "")
            for kind in _kinds(name)
        }
        return re.sub("^#", "", offer[0], flags=re.MULTILINE) if kinds & wanted else offer[0]

    return _OFFER.sub(judged, policy)


def _kinds(name: str) -> Iterable[str]:
    if name.startswith("@"):
        return _groups()[name[1:]].get("kinds", ())
    return [line.power.name for line in powers().of(name) if line.power.gives]


@cache
def _groups() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = tomllib.loads(_GROUPS.read_text())
    return found


def verdict(free: Turn, held: Turn) -> str:
    """Return in a word how a run went, beside one without a filter."""
    if held.said == free.said:
        return "works"
    new = {*held.said.splitlines()} - {*free.said.splitlines()}
    if any(re.search(r"(code|with|start:) (132|134|135|139)$", line) for line in new):
        return "crashes"
    if any("never" in line or "does not end" in line for line in new):
        return "spins" if any("spins" in line for line in new) else "hangs"
    return "loses its log" if "logged" in free.said and "logged" not in held.said else "is refused"
