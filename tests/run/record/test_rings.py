"""Rings that are recorded: each program knows what it submitted, and says so in its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from command import inside, seccompgen
from ring_workloads import POLLED, program, record, report, require_rings, some
from running_kernel import require_x86_64
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

require_x86_64()
require_rings()

EVERY = """
r = Ring(16)
r.submit(
    nop(), nop(flags=ring.ASYNC), entry(22, -1, length=1), entry(22, 0, flags=ring.FIXED_FILE),
    entry(18, -100, addr=kept(b"none\\0"), op_flags=os.O_WRONLY | os.O_CREAT, length=0o600),
    entry(18, -100, addr=kept(b"none/none\\0"), op_flags=os.O_RDONLY),
    entry(28, -1, addr=kept(b"none\\0"), off=kept(struct.pack("=3Q", os.O_RDWR, 0, 8)), length=24),
    entry(45, 2, off=os.O_NONBLOCK | 2, length=17), entry(45, 1, off=5), entry(45, 777),
    connect(v4(5432, 1)), connect(v6(80, 1)), connect(unix(b"/x")), connect(v4(9, 9), 15),
    entry(57, -1), entry(255))
os.path.exists("none") and os.remove("none")
"""
EVERYTHING = [
    "255",
    "CONNECT family=AF_UNIX",
    "CONNECT to 0.0.0.0 port 0",  # too short for an address
    "CONNECT to 127.0.0.1 port 5432",
    "CONNECT to ::1 port 80",
    "LISTEN",
    "NOP",  # the kernel sets IOSQE_ASYNC by itself, too
    "OPENAT",
    "OPENAT flags=O_WRONLY|O_CREAT mode=0o600",
    "OPENAT2 flags=O_RDWR resolve=RESOLVE_BENEATH",
    "READ",
    "READ sqe_flags=IOSQE_FIXED_FILE",
    "SOCKET family=0x309",
    "SOCKET family=AF_INET type=SOCK_DGRAM protocol=17",
    "SOCKET family=AF_UNIX type=SOCK_SEQPACKET",
]
SEEN = {
    "taken by a thread of the kernel": (
        POLLED + "for n in range(4):\n    give(r, nop() if n else entry(57, -1), n)\n"
        "    os.getppid()\n"
        "if not os.fork():\n    give(r, entry(34, -1), 4); os._exit(0)\n"
        "os.wait()\ngive(r, entry(18, -1, addr=kept(b'x/y\\0'), op_flags=2), 5)\n",
        ["LISTEN", "NOP", "OPENAT flags=O_RDWR", "SHUTDOWN"],
    ),
    "every operation with fields": (EVERY, EVERYTHING),
    "again and again around the ring": (
        "r = Ring(4)\nfor n in range(9): r.submit(nop(), nop(), connect(v4(1000 + n, 1)))\n",
        [*(f"CONNECT to 127.0.0.1 port {1000 + n}" for n in range(9)), "NOP"],
    ),
    "indices in another order": (
        "r = Ring(4)\n"
        "struct.pack_into('=4I', r._rings, r._sq[6], 2, 3, 3, 3)\n"
        "r._entries[128:192] = nop()\nr._entries[192:256] = entry(57, -1)\n"
        "struct.pack_into('=I', r._rings, r._sq[1], 2)\ncall(ring.ENTER, r.fd, 2, 2, 1)\n",
        ["LISTEN", "NOP"],
    ),
    "less than waits, and the rest later": (
        "r = Ring(4)\nfor n in range(2): r._entries[64 * n:64 * n + 64] = [nop(), entry(57)][n]\n"
        "struct.pack_into('=I', r._rings, r._sq[1], 2)\n"
        "call(ring.ENTER, r.fd, 1, 0, 0)\ncall(ring.ENTER, r.fd, 1, 0, 0)\n",
        ["LISTEN", "NOP"],
    ),
    "entries of 128 bytes": (
        "r = Ring(4, ring.SQE128)\nr.submit(nop(), entry(57, -1))\n",
        ["LISTEN", "NOP"],
    ),
    "no array of indices": (
        "r = Ring(4, ring.NO_SQARRAY)\nr.submit(nop(), entry(57, -1))\n",
        ["LISTEN", "NOP"],
    ),
    "memory of the program, and no descriptor": (
        "r = Ring(4, ring.NO_MMAP | ring.REGISTERED_FD_ONLY)\nr.submit(nop(), entry(57, -1))\n",
        ["LISTEN", "NOP"],
    ),
    "a registered descriptor that is closed": (
        "r = Ring(4)\nat = register_fds(r)\nos.close(r.fd)\nby_index(r, at)\n"
        "r.submit(nop(), entry(57))\n",
        ["LISTEN", "NOP"],
    ),
    "a descriptor in place of another": (
        "r, other = Ring(4), Ring(4, ring.SQE128)\nother.submit(nop())\n"
        "os.dup2(other.fd, r.fd)\nother.fd = r.fd\nother.submit(entry(57, -1))\n",
        ["LISTEN", "NOP"],
    ),
    "in a child, by its parent's ring": (
        "r = Ring(4)\nr.submit(nop())\n"
        "if not os.fork(): r.submit(entry(57, -1)); os._exit(0)\nos.wait()\nr.submit(entry(56))\n",
        ["BIND", "LISTEN", "NOP"],
    ),
    "in threads, each by a ring of its own": (
        "def work(n): Ring(4).submit(nop(), connect(v4(n, 1)))\n"
        "all = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 3)]\n"
        "for one in all: one.start()\nfor one in all: one.join()\n",
        [*(f"CONNECT to 127.0.0.1 port {n}" for n in (1, 2, 3)), "NOP"],
    ),
    "while a signal interrupts the call": (
        "r = Ring(4)\nsignal.signal(signal.SIGALRM, lambda *_: None)\n"
        "end, _ = os.pipe()\nsignal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)\n"
        "enter(r, entry(22, end, addr=kept(b' '), length=1), 1)\nr.submit(entry(57), wait=0)\n",
        ["LISTEN", "READ"],
    ),
}


def seen(found: dict[str, Any]) -> list[str]:
    return sorted(one for each in found["rings"]["operations"] for one in each["seen"])


def section(policy: Path) -> str:
    """Return a recorded section, without the heading."""
    text = policy.read_text()
    assert inside("build", policy.name, "-o", "out", cwd=policy.parent).code == 0
    return text.partition("\nio_uring:\n")[2]


@pytest.mark.parametrize(
    "name", some(SEEN, "every operation with fields", "taken by a thread of the kernel")
)
def test_all_that_is_submitted_is_seen(name: str, policy: Path) -> None:
    body, submitted = SEEN[name]
    done = record(policy, body, "--json")
    assert done.code == 0, done.err
    found = report(done)
    assert found["rings"]["unseen"] == []
    assert seen(found) == sorted(submitted)
    assert "read from memory by the tracer" in done.err


SECTIONS = {
    "": """\
  default_action: deny
  operations:
  - action: allow
    names: ["@cancel", "@nop", "@provide", "@read", "@timeout", LISTEN]
  # CONNECT was seen to 0.0.0.0 port 0, 127.0.0.1 port 5432, ::1 port 80
  - action: allow
    names: [CONNECT]
    when: family in {AF_UNIX, AF_INET, AF_INET6}
  - action: allow
    names: ["@open"]
    when: flags & O_ACCMODE == O_RDONLY and not flags & (O_CREAT|O_TRUNC|__O_TMPFILE)
  - action: allow
    names: [SOCKET]
    when: family == AF_UNIX or family in {AF_INET, AF_INET6} and type in {SOCK_STREAM, SOCK_DGRAM}
      or family == 0x309 and type == 0 and protocol == 0
""",
    "--exact": """\
  default_action: deny
  register: [PROBE]
  operations:
  # CONNECT was seen to 0.0.0.0 port 0, 127.0.0.1 port 5432, ::1 port 80
  - action: allow
    names: ["@open", NOP, CONNECT, READ, SOCKET, LISTEN]
""",
    "--args": """\
  default_action: deny
  register: [PROBE]
  operations:
  - action: allow
    names: [NOP, READ, LISTEN]
  - action: allow
    names: [CONNECT]
    when: "family == AF_UNIX or port == 80 and addr == ::1 or port == 0 and addr == 0.0.0.0 or \
port == 5432 and addr == 127.0.0.1"
  - action: allow
    names: [OPENAT]
    when: flags == O_RDONLY or not flags & ~(O_LARGEFILE|O_CLOEXEC)
  - action: allow
    names: [OPENAT2]
    when: flags == O_RDONLY and resolve & RESOLVE_BENEATH
  - action: allow
    names: [SOCKET]
    when: family == AF_UNIX and type == SOCK_SEQPACKET and protocol == 0 or family == AF_INET and
      type == SOCK_DGRAM and protocol == 17 or family == 0x309 and type == 0 and protocol == 0
""",
}


@pytest.mark.parametrize("option", some(SECTIONS, "--args"))
def test_the_section_has_what_an_option_asks_for(option: str, policy: Path) -> None:
    """What does the same, and conditions that decide; or what was seen, or that with its fields."""
    body = EVERY.replace("os.O_WRONLY | os.O_CREAT", "os.O_CLOEXEC").replace("os.O_RDWR", "0")
    probe = "call(ring.REGISTER, r.fd, ring.REGISTER_PROBE, kept(bytes(4096)), 64)\n"
    assert record(policy, body + probe, *filter(None, [option])).code == 0
    assert section(policy) == SECTIONS[option]


@pytest.mark.long("records several programs")
def test_fixed_files_alone_are_asked_for_where_nothing_else_was_seen(policy: Path) -> None:
    read = "r = Ring(4)\nr.submit(entry(22, 0, flags=ring.FIXED_FILE))\n"
    assert record(policy, read, "--args").code == 0
    assert "names: [READ]\n    when: sqe_flags & IOSQE_FIXED_FILE\n" in section(policy)
    assert record(policy, read + "r.submit(entry(22, -1))\n", "--args").code == 0
    assert "names: [READ]\n" in section(policy)
    assert "when" not in section(policy)


@pytest.mark.long("records several programs")
def test_files_that_are_written_and_the_way_that_paths_take(policy: Path) -> None:
    """OPENAT cannot say that a path stays below: it is left out where all had to."""
    how = "off=kept(struct.pack('=3Q', FLAGS, 0, 8 | FURTHER)), length=24"
    open_by = f"r.submit(entry(28, -1, addr=kept(b'x/y\\0'), {how}))\n"
    below = open_by.replace("FLAGS", "0").replace("FURTHER", "4")
    assert record(policy, "r = Ring(4)\n" + below).code == 0
    conditions = section(policy)
    assert "names: [OPENAT2]\n    when: flags & O_ACCMODE == O_RDONLY and" in conditions
    assert "resolve\n      & RESOLVE_NO_SYMLINKS and resolve & RESOLVE_BENEATH\n" in conditions
    write = open_by.replace("FLAGS", "os.O_RDWR").replace("FURTHER", "0")
    assert record(policy, "r = Ring(4)\n" + below + write).code == 0
    assert "names: [OPENAT2]\n    when: resolve & RESOLVE_BENEATH\n" in section(policy)
    plain = "r.submit(entry(18, -1, addr=kept(b'x/y\\0'), op_flags=os.O_WRONLY))\n"
    assert record(policy, "r = Ring(4)\n" + below + plain).code == 0
    assert '"@open"' in section(policy)
    assert "when" not in section(policy)


def test_a_ring_that_could_not_be_made_is_none(policy: Path) -> None:
    """A program that goes on without has no ring where there is one, either."""
    body = "with contextlib.suppress(OSError): call(ring.SETUP, 0, kept(bytes(120)))\n"
    assert record(policy, body).code == 0
    assert "io_uring:" not in policy.read_text()
    rules = [
        one for one in load_policy(policy, shipped_tables())[0].own_rules if "uring" in one.name
    ]
    assert [(one.name, str(one.action)) for one in rules] == [("io_uring_setup", "errno(ENOSYS)")]
    # Another run has one.
    merged = record(policy, "Ring(1).submit(nop())\n", "--merge", policy)
    assert merged.code == 0, merged.err
    assert "io_uring_setup" not in policy.read_text()
    assert "LISTEN" not in section(policy)


@pytest.mark.parametrize(
    "options", [pytest.param((), marks=pytest.mark.long("the same without --args")), ("--args",)]
)
def test_runs_add_up(options: tuple[str, ...], policy: Path) -> None:
    """A run that a section covers changes nothing; what another adds is in the proved union."""
    first = "r = Ring(4)\nr.submit(connect(v4(80, 1)), entry(57, -1))\n"
    second = "r = Ring(4)\nr.submit(connect(v4(81, 1)), connect(v6(80, 1)), entry(34, -1))\n"
    assert record(policy, first, *options).code == 0
    before = policy.read_text()
    assert record(policy, first, *options, "--merge", policy).code == 0
    assert policy.read_text() == before
    (policy.parent / "first.yml").write_text(before)
    done = record(policy, second, *options, "--merge", "first.yml")
    assert done.code == 0, done.err
    both = section(policy)
    assert "SHUTDOWN" in both
    assert "LISTEN" in both
    if options:
        assert (
            '"port == 80 and addr in {127.0.0.1, ::1} or port == 81 and addr == 127.0.0.1"' in both
        )
    words = ["subset", "first.yml", policy.name]
    assert inside(*words, cwd=policy.parent).code == 0
    assert inside(*reversed(words[1:]), cwd=policy.parent).code != 0


def test_a_policy_that_says_more_is_kept_or_refused(policy: Path) -> None:
    """What fails, follows the calls, or may be registered is kept; what denies is not merged."""
    known = policy.parent / "known.yml"
    head = (
        "arches: [x86_64]\ndefault_action: errno\nsyscalls:\n- {action: allow, names: [recvfrom]}\n"
    )
    section_of = "io_uring:\n  default_action: deny\n"
    known.write_text(
        head + section_of + "  without: fail\n  mirror: true\n  register: [PERSONALITY]\n"
        "  operations: [{action: allow, names: [LISTEN], when: sqe_flags & IOSQE_FIXED_FILE}]\n"
    )
    done = record(policy, "Ring(1).submit(entry(34, -1))\n", "--merge", known, "--exact")
    assert done.code == 0, done.err
    text = section(policy)
    for one in ("without: fail", "mirror: true", "PERSONALITY", "IOSQE_FIXED_FILE", "SHUTDOWN"):
        assert one in text
    # A run that was not seen whole leaves the section as it was.
    followed = POLLED + "give(r, connect(v4(1, 1)), 0)\n"
    done = record(policy, followed, "--merge", known)
    assert done.code == 1
    kept = section(policy)
    assert "IOSQE_FIXED_FILE" in kept.partition("#")[0]
    assert load_policy(policy, shipped_tables())[0].io_uring
    known.write_text(
        head + section_of + "  operations:\n  - {action: deny, names: [LISTEN]}\n"
        "  - {action: allow, names: [CONNECT]}\n"
    )
    done = record(policy, "Ring(1).submit(entry(34, -1))\n", "--merge", known)
    assert done.code == 2
    assert "known.yml:8:5: deny for LISTEN: only rules that allow merge" in done.err
    # Rings that nothing filters stay so.
    known.write_text(head.replace("recvfrom", "io_uring_setup, io_uring_enter, io_uring_register"))
    done = record(policy, "Ring(1).submit(entry(34, -1))\n", "--merge", known)
    assert done.code == 0, done.err
    assert "io_uring:\n" not in policy.read_text()


def test_what_came_before_the_marker_does_not_count(policy: Path) -> None:
    body = (
        "r = Ring(4)\nr.submit(entry(57, -1))\ncall(317, 1, 0, 0)\nRing(4).submit(entry(34, -1))\n"
    )
    body = body.replace("call(317, 1, 0, 0)", "ring.libc.syscall(317, 1, 0, 0, 0, 0, 0)")
    done = record(policy, body, "--startup-marker")
    assert done.code == 0, done.err
    text = section(policy)
    assert "SHUTDOWN" in text
    assert "LISTEN" not in text
    assert "a ring was made before the filter was installed" in done.err


def test_operations_are_compared_with_a_section(policy: Path) -> None:
    known = policy.parent / "known.yml"
    known.write_text(
        "arches: [x86_64]\ndefault_action: allow\nsyscalls: []\nio_uring:\n"
        "  default_action: deny\n  operations:\n"
        "  - {action: deny, names: [CONNECT], when: port == 81}\n"
        "  - {action: allow, names: [CONNECT], when: addr in 127.0.0.0/8}\n"
    )
    body = "Ring(4).submit(connect(v4(80, 1)), connect(v4(81, 1)), connect(v6(80, 1)))\n"
    words = ["record", "--against", known.name, "--", *program(policy.parent, body)]
    done = seccompgen(*words, cwd=policy.parent)
    assert done.code == 1
    said = [line for line in done.err.splitlines() if "CONNECT to" in line]
    assert said == [
        "known.yml:5:3: CONNECT to ::1 port 80 on x86_64: refused, it fails with EACCES",
        "known.yml:7:5: CONNECT to 127.0.0.1 port 81 on x86_64: refused, it fails with EACCES",
    ]
    permitted = program(policy.parent, "Ring(4).submit(connect(v4(80, 1)))\n")
    done = seccompgen("record", "--against", known.name, "--", *permitted, cwd=policy.parent)
    assert done.code == 0, done.err
