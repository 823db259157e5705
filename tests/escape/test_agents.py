"""The policies of `examples/agents`: each builds, and is what the tables of their page say."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import interpreter
import pytest
import running_kernel as kernel
import seccompgen
from command import ROOT
from escape import attacks
from escape.conftest import made
from escape.promises import POLICIES
from strategies import plain_tables

if TYPE_CHECKING:
    from escape.attack import Outcome

pytestmark = [
    pytest.mark.root("makes some of the attacks", users_too=True),
    pytest.mark.long("eight filters are attacked in 22 ways"),
]
kernel.require_x86_64()
attacks.load()

PAGE = (ROOT / "examples" / "agents" / "README.md").read_text()
AGENTS = {path.stem: path for path in sorted((ROOT / "examples" / "agents").glob("*.yml"))}
FILES = AGENTS | {"sandboxed_code": POLICIES["sandboxed_code"]}
ROWS = {
    "makes a TCP socket": "socket_of_family_2_stream_protocol_0",
    "the same by io_uring": "socket_by_a_ring_that_it_has",
    "makes a vsock": "socket_of_family_40_stream_protocol_0",
    "listens": "listen",
    "makes an AF_UNIX socket": "make_a_unix_socket",
    "sends to a local server by a datagram pair": "a_pair_of_kind_datagram_that_sends_anywhere",
    "traces another process": "attach",
    "writes its memory by process_vm_writev": "write_its_memory",
    "writes its memory by /proc": "write_its_memory_by_proc",
    "types into its terminal": "typed_into_a_terminal",
    "becomes root of a user namespace": "new_namespace_of_users",
    "mounts": "mount",
    "loads BPF": "bpf",
    "handles page faults of the kernel": "handle_faults",
    "keeps keys in the kernel": "add_a_key",
    "executes a program": "execute",
    "starts a process by clone3": "clone3",
    "opens a file to write": "open_to_write",
    "creates a file by creat": "create_by_the_old_call",
}
"""Rows of the first table, and the attack of each."""
CALLS: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "the same through x32": ("x32", "socket", (2, 1)),
    "makes an AF_ALG socket": ("x86_64", "socket", (38, 5)),
    "takes a descriptor out of it": ("x86_64", "pidfd_getfd", ()),
    "send(), which is sendto": ("x86_64", "sendto", ()),
    "setsockopt, for Chromium": ("x86_64", "setsockopt", ()),
    "shutdown, for Node.js": ("x86_64", "shutdown", ()),
    "clone3, for threads of glibc": ("x86_64", "clone3", ()),
    "clone, for processes": ("x86_64", "clone", (17,)),
}
"""Rows that are what the program answers. Kernels lack x32 and AF_ALG as a rule, and codex refuses
that by which the attack looks at the descriptor."""


def table(head: str) -> dict[str, dict[str, str]]:
    """Return the rows of the page's table whose first column is ``head``, by row and column."""
    (text,) = re.findall(rf"^\| {head} (\|.*\n(?:\|.*\n)+)", PAGE, re.MULTILINE)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return {row: dict(zip(lines[0], cells, strict=True)) for row, *cells in lines[2:]}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Outcome]]:
    return made(tmp_path_factory.mktemp("agents"), FILES, list(ROWS.values()), list(FILES))


def _answers(policy: str, abi: str, name: str, arguments: tuple[int, ...]) -> bool:
    """Return whether the kernel would make the call."""
    number = dict(plain_tables()[abi])[name]
    data = interpreter.seccomp_data(number, 0xC000003E, arguments, 0, "little")
    return interpreter.run(_program(policy), data, "little").value == interpreter.RET_ALLOW


@cache
def _program(policy: str) -> bytes:
    return seccompgen.compile(FILES[policy], "x86_64").to_bytes()


@pytest.mark.parametrize("policy", FILES)
def test_attacks(policy: str, outcomes: dict[str, dict[str, Outcome]]) -> None:
    shown = table("attack")
    assert shown.keys() <= ROWS.keys() | CALLS.keys()
    found = {}
    for row in shown:
        if row in CALLS:
            found[row] = "open" if _answers(policy, *CALLS[row]) else "closed"
        elif outcomes[""][ROWS[row]].kind == "escaped":
            kind = outcomes[policy][ROWS[row]].kind
            found[row] = "open" if kind == "escaped" else "closed"
    assert len(found) > len(shown) / 2
    assert found == {row: shown[row][policy] for row in found}


@pytest.mark.parametrize("policy", FILES)
def test_calls_that_fail(policy: str) -> None:
    shown = {row: cells[policy] for row, cells in table("call").items()}
    assert shown == {row: "works" if _answers(policy, *CALLS[row]) else "fails" for row in shown}


@pytest.mark.parametrize("policy", AGENTS)
def test_findings(policy: str) -> None:
    codes = {one.kind.value for one in seccompgen.lint(AGENTS[policy])}
    assert ", ".join(sorted(codes)) == table(r"policy(?= \| codes)")[policy]["codes"]
