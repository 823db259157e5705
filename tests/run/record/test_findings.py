"""Fresh recordings pass lint, and can be written for containers and for systemd."""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
import recorded_policies as written
from command import inside, seccompgen
from running_kernel import require_x86_64
from seccompgen.core.model import Action
from seccompgen.formats import load_policy
from seccompgen.run.record.session import RecordRequest, policy_of

if TYPE_CHECKING:
    from pathlib import Path

require_x86_64()

BUSY = """
import socket, subprocess, tempfile, threading
server = socket.create_server(("127.0.0.1", 0))
def serve():
    client, _ = server.accept()
    client.sendall(client.recv(9))
    client.close()
thread = threading.Thread(target=serve)
thread.start()
client = socket.create_connection(server.getsockname())
client.sendall(b"hello")
assert client.recv(9) == b"hello"
thread.join()
subprocess.run(["true"], check=True)
with tempfile.TemporaryDirectory() as directory:
    open(directory + "/file", "w").write("x")
"""
THREADS = r"""
#include <pthread.h>
#include <stdlib.h>
static void *work(void *kept) { free(malloc(1 << 20)); return kept; }
int main(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(threads + i, 0, work, 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    return system("true");
}
"""
PIPELINE = "ls / | sort | uniq -c | head -3; sleep 0.01 & wait; echo x > here; rm here"
NODE = """
require("child_process").execSync("true");
require("fs").writeFileSync("here", "x");
const server = require("net").createServer(() => {}).listen(0, () => server.close());
"""
DATABASE = "create table t(a); insert into t values (1); select count(*) from t"


def recorded(directory: Path, *command: str) -> Path:
    found = shutil.which(command[0])
    if not found:
        pytest.skip(f"there is no {command[0]}")
    policy = directory / "demo.yml"
    done = seccompgen("record", "-o", policy, "--", found, *command[1:], cwd=directory)
    assert done.code == 0, done.err
    return policy


def require_clean(policy: Path) -> None:
    """Fail for a finding of lint above a note."""
    found = inside("lint", policy.name, cwd=policy.parent)
    lines = found.out.splitlines()
    assert not [one for one in lines if ": warning: " in one or ": error: " in one], found.out


def test_a_script_with_threads_sockets_and_programs(tmp_path: Path) -> None:
    require_clean(recorded(tmp_path, sys.executable, "-I", "-c", BUSY))


def test_rings_and_namespaces_that_a_run_made_are_no_findings(tmp_path: Path) -> None:
    """What else does the same is refused, in vain: a comment says so at the rule that permits."""
    made = written.recorded("x86_64", read=[{}], unshare=[{0: 0x10000000}])
    path = tmp_path / "demo.yml"
    path.write_text(
        "arches: [x86_64]\ndefault_action: errno\n"
        "syscalls: [{action: allow, names: [io_uring_setup]}]\n"
    )
    rings = load_policy(path, written.TABLES)[0]  # a run would have a section for its rings
    recorded = policy_of(
        made, RecordRequest(known=(rings,)), written.TABLES, "demo", Action.errno("EPERM")
    )
    path.write_text(recorded.text)
    require_clean(path)
    path.write_text(re.sub(" # lint: .*", "", recorded.text))
    found = inside("lint", path.name, cwd=tmp_path).out
    assert "[io-uring-way]" in found
    assert "[namespace-twin]" in found
    known = load_policy(path, written.TABLES)[0]
    path.write_text(recorded.text)
    again = policy_of(
        made, RecordRequest(known=(known,)), written.TABLES, "demo", Action.errno("EPERM")
    )
    assert again.text.count(" # lint: ") == recorded.text.count(" # lint: ")


@pytest.mark.long("records a program, and writes its policy for others")
@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-I", "-c", BUSY),
        ("sh", "-c", PIPELINE),
        ("bash", "-c", f"trap 'echo x' EXIT; {PIPELINE}"),
        ("git", "init", "-q", "."),
        ("sqlite3", "data", DATABASE),
        ("perl", "-e", 'system("true"); open F, ">", "here"; unlink "here"'),
        ("node", "-e", NODE),
        ("sort", "--parallel=2", "-o", "here", "/etc/services"),
        ("tar", "czf", "here.tgz", "/etc/hostname"),
        ("xz", "-k", "-T2", "demo.c"),
        ("make", "demo", "CC=gcc"),
        ("gcc", "-O2", "-o", "demo", "demo.c"),
        ("sh", "-c", "gcc -o demo demo.c && ./demo"),
        ("sh", "-c", "gcc -static -o demo demo.c && ./demo"),
        ("curl", "-s", "file:///etc/hostname"),
    ],
    ids=lambda command: " ".join(command)[:20],
)
def test_programs_of_many_kinds(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "demo.c").write_text(THREADS)
    policy = recorded(tmp_path, *command)
    require_clean(policy)
    # What other programs need of a form differs little, and proofs take their time.
    forms = (("oci", ()), ("systemd", ("--nearest",))) if command[0] in {"sh", "node"} else ()
    for form, more in forms:
        made = inside("build", policy.name, "--format", form, *more, "-o", form, cwd=tmp_path)
        assert made.code == 0, made.err


INCLUDED = {
    "minijail": "unknown_action: kill_thread\n",
    "spo": "unknown_action: errno(EPERM)\n",
    "seccompiler": "unknown_action: kill_process\nbad_arch_action: kill_process\n",
}
"""By form, the settings that its error asks for, in a policy that includes the recorded one."""


@pytest.mark.long("records a program, and writes its policy in every form")
def test_every_form_is_written_or_says_which_settings_it_needs(tmp_path: Path) -> None:
    recorded(tmp_path, "sh", "-c", PIPELINE)
    for form in ("python", "bpf", "c", "rust", "go", "oci"):
        made = inside("build", "demo.yml", "--format", form, "-o", form, cwd=tmp_path)
        assert made.code == 0, made.err
    for form, settings in INCLUDED.items():
        made = inside("build", "demo.yml", "--format", form, "-o", form, cwd=tmp_path)
        assert made.code == 2
        asked = [one for one in settings.splitlines() if f"`{one}`" in made.err or one in made.err]
        assert asked, made.err
        (tmp_path / "own.yml").write_text(f"include: [demo.yml]\n{settings}syscalls: []\n")
        made = inside("build", "own.yml", "--format", form, "-o", form, cwd=tmp_path)
        if form == "seccompiler":  # it has two actions, and what libraries try first is a third
            assert "cannot express errno(ENOSYS) as well" in made.err
        else:
            assert made.code == 0, made.err
