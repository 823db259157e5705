"""Try filters of io_uring's operations in a guest, and judge what its kernel answered.

A kernel's answer must be that of the interpreter on the oracle's context, and what a filter means;
the context that a filter sees must be the oracle's, byte for byte.
"""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

from guests import emulator, escapes, image, ring_packages, shares
from guests.inside import ring_dry
from guests.inside.ring_attacks import (
    FILTERS,
    INSTALL,
    KERNEL,
    NOT_INSTALLED,
    PROGRAM,
    RING_ATTACKS,
)
from guests.machines import RING_GUESTS
from guests.ring_compiled import COMPILED, INSTALLS, package
from guests.ring_facts import KEPT
from guests.ring_facts import differences as fact_differences
from guests.ring_filters import LAST, POLICIES, operations
from guests.run import RESULTS, write
from interpreter import CONTEXT_SIZE, assemble, check, run
from oracle import ABIS
from ring_context import (
    CONNECT,
    INET,
    INET6,
    KERNELS_OWN,
    OPENAT,
    OPENAT2,
    SOCKET,
    context,
    pdu_size,
    release,
    sockaddr,
)
from strategies import plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guests.machines import Guest
    from guests.ring_filters import RingPolicy
    from interpreter import ByteOrder
    from ring_context import Fields, Release

    Asked = tuple[int, dict[str, Any]]

FOLDER = RESULTS / "rings"
"""Where there is a file of JSON for each guest."""

_READ_BY_EACH = 12
"""One of so many contexts is read, bit by bit, in a guest that shares them with others."""

_NUMBERS = {"pidfd_getfd": 438, "io_uring_register": 427}
_REGISTERED = (0, 1, 2, 3, 8, 12)
"""Buffers, files, PROBE and ENABLE_RINGS: what the program lets a thread register."""
_EACCES = -errno.EACCES
_EPERM = 0x00050001
_MAKES_SOCKETS = {-errno.EAFNOSUPPORT, -errno.EINVAL, -errno.EPROTONOSUPPORT, -94}


def seccomp_program(order: ByteOrder) -> bytes:
    """Return what stands beside the filters: it refuses all that may be registered but a few.

    Numbers are the same on all of our guests' ABIs, the architecture is not looked at.
    """
    low = 24 if order == "little" else 28
    known = [(0x15, len(_REGISTERED) - n, 0, one) for n, one in enumerate(_REGISTERED)]
    return assemble(
        [
            (0x20, 0, 0, 0),
            (0x15, len(known) + 2, 0, _NUMBERS["pidfd_getfd"]),
            (0x15, 0, len(known) + 2, _NUMBERS["io_uring_register"]),
            (0x20, 0, 0, low),
            *known,
            (0x06, 0, 0, _EPERM),
            (0x06, 0, 0, 0x7FFF0000),
        ],
        order,
    )


def as_plan(programs: Mapping[int, tuple[int, bytes]], seccomp: bytes = b"") -> dict[str, Any]:
    """Return a policy as guests take it: by operation the size of the fields and the program."""
    return {
        "operations": {
            str(operation): [size, program.hex()] for operation, (size, program) in programs.items()
        },
        "seccomp": seccomp.hex(),
    }


def expected_release(guest: Guest) -> Release:
    """Return the release of a guest's kernel, by its package. Raises what `fetch` does."""
    return release(image.kernel_version(guest))


def asked(order: ByteOrder) -> list[Asked]:
    """Return operations as a guest makes them: with the bytes of an address."""
    return [
        (operation, {**fields, "sockaddr": sockaddr(fields, order).hex()})
        if operation == CONNECT
        else (operation, fields)
        for operation, fields in operations()
    ]


def _read(guest: Guest, all_asked: Sequence[Asked]) -> list[Asked]:
    """Return the operations whose contexts a guest reads: where kernels differ, and a share."""
    readable = [one for one in all_asked if one[0] not in _UNREAD]
    if shares.ALL:
        return readable[:: _READ_BY_EACH // 4]
    share = readable[RING_GUESTS.index(guest) % _READ_BY_EACH :: _READ_BY_EACH]
    return [*_differing(ABIS[guest.abi].byte_order), *share]


def _differing(order: ByteOrder) -> list[Asked]:
    """Return operations whose contexts differ between releases, or byte orders."""
    local = {"family": INET6, "port": 5432, "address": "2001:db8::1"}
    connects = [{**local, "length": length} for length in (24, 27, 28)]
    connects.append({"family": INET, "port": 5432, "address": "10.1.2.3"})
    return [
        *((CONNECT, {**one, "sockaddr": sockaddr(one, order).hex()}) for one in connects),
        (OPENAT, {"flags": 1 << 26}),
        (OPENAT, {"flags": 0o101, "mode": 0o1755}),
        (SOCKET, {"family": 0, "type": 0x80801, "protocol": 0x12345678}),
    ]


_UNREAD = {*ring_dry.NEVER, *(11, 15, 50, 51, 53, 47, 48, 62, 63, 64)}
"""Operations that wait, complete twice, or want other rings: tried one by one alone."""


EVERY = (*POLICIES, COMPILED)


def plan(
    guest: Guest,
    of: Release,
    policies: Sequence[RingPolicy] = EVERY,
    installs: Sequence[str] = (INSTALLS,),
) -> dict[str, Any]:
    """Return what `inside.rings` takes; the attacks are made on the first of ``policies``.

    They are made as well on what ``install()`` of each of the modules ``installs`` puts in force.
    """
    order = ABIS[guest.abi].byte_order
    every = asked(order)
    programs = {one.name: one.programs(guest.abi, of) for one in policies}
    planned = {name: as_plan(one) for name, one in programs.items()}
    planned["attacked"] = as_plan(programs[policies[0].name], seccomp_program(order))
    return {
        "abi": guest.abi,
        "numbers": dict(plain_tables()[guest.abi]),
        "byte_order": order,
        "policies": planned,
        "asked": dict.fromkeys(programs, every),
        "read": {
            "sizes": [(one, pdu_size(one, of)) for one in range(LAST)],
            "contexts": _read(guest, every),
        },
        "attacked": "attacked",
        "packages": [ring_packages.PACKAGE, ring_packages.NAMES, ring_packages.IN_TURN, guest.abi],
        "installs": list(installs),
    }


def boot(guest: Guest, planned: Mapping[str, Any], processor: int | None = None) -> dict[str, Any]:
    """Return the report of a guest. Raises what `emulator.boot` does."""
    files = escapes.sources("rings")
    files |= ring_packages.files(guest.abi)
    files |= {"plan.json": json.dumps(planned).encode(), **package()}
    report: dict[str, Any] = json.loads(emulator.boot(guest, files, processor=processor))
    return report


def run_guest(
    guest: Guest, processor: int | None = None, policies: Sequence[RingPolicy] = EVERY
) -> dict[str, Any]:
    """Return what was tried in a guest and what differed, and write it down."""
    of = expected_release(guest)
    planned = plan(guest, of, policies)
    report = boot(guest, planned, processor)
    result = {
        "guest": guest.name,
        "abi": guest.abi,
        "release": report["version"].partition("Debian ")[2].partition(" ")[0],
        "operations": sum(len(one.get("results", ())) for one in report["asked"].values()),
        "contexts": len(report["read"].get("contexts", ())),
        "facts": len(report["facts"]),
        "attacks": len(report["attacks"]),
        "differences": [*judged(guest, of, planned, report, policies)],
        "seconds": report["seconds"],
    }
    write(guest, result, FOLDER)
    return result


def judged(
    guest: Guest,
    of: Release,
    planned: Mapping[str, Any],
    report: Mapping[str, Any],
    policies: Sequence[RingPolicy] = EVERY,
) -> Iterator[str]:
    """Yield all that differs in a report, in words."""
    version = report["version"].partition("Debian ")[2]
    if release(version) != of:
        yield f"the kernel is {version}, and not {of}"
    for policy in policies:
        yield from _answers(guest, of, policy, report["asked"][policy.name])
    read = planned["read"]["contexts"]
    seen = report["read"].get("contexts", [])
    if len(seen) != len(read):
        yield f"contexts: {report['read']}"
    for (operation, fields), bits in zip(read, seen, strict=False):
        yield from _contexts(guest, of, operation, fields, bytes.fromhex(bits))
    yield from fact_differences(guest, of, report["facts"])
    yield from ring_packages.differences(of, report["packages"])
    yield from attack_differences(of, report["attacks"])


def _answers(
    guest: Guest, of: Release, policy: RingPolicy, report: Mapping[str, Any]
) -> Iterator[str]:
    abi, order = guest.abi, ABIS[guest.abi].byte_order
    every = asked(order)
    if report.get("installed") != "done" or len(report.get("results", ())) != len(every):
        yield f"{policy.name}: {report}"
        return
    programs = policy.programs(abi, of)
    for _, program in programs.values():
        check(program, order, CONTEXT_SIZE)
    for (operation, fields), result in zip(every, report["results"], strict=True):
        if operation in ring_dry.NEVER:
            continue
        what = f"{policy.name}: operation {operation} {fields}"
        seen = context(operation, fields, abi, order, of)
        made = programs.get(operation)
        answer = bool(made and run(made[1], seen, order).value)
        if answer != policy.permits(operation, fields, abi, of):
            yield f"{what}: it means otherwise than the interpreter says, {answer}"
        if answer != (result not in _refusals(operation, policy, abi, of)):
            yield f"{what}: wanted {'permission' if answer else 'refusal'}, was {result}"
        elif answer and not _fits(operation, result):
            yield f"{what}: permitted, it ended with {result}"


def _refusals(operation: int, policy: RingPolicy, abi: str, of: Release) -> set[int]:
    """Return what a refused operation ends with: a chain is cancelled with its head."""
    head = policy.permits(0, {}, abi, of)
    return {_EACCES} if operation != ring_dry.LINK_TIMEOUT or head else {-errno.ECANCELED}


def _fits(operation: int, result: int) -> bool:
    """Say whether a permitted operation, which touches nothing, ends so."""
    if operation in {OPENAT, OPENAT2}:
        return result in {-errno.EBADF, -errno.EINVAL}
    if operation == SOCKET:
        return result >= 0 or result in _MAKES_SOCKETS
    return result == ring_dry.permitted(operation)


def _contexts(
    guest: Guest, of: Release, operation: int, fields: Fields, seen: bytes
) -> Iterator[str]:
    wanted = context(operation, fields, guest.abi, ABIS[guest.abi].byte_order, of)
    if operation != OPENAT:
        own = bytes(~KERNELS_OWN & 0xFF if n == 9 else 0xFF for n in range(len(seen)))
        seen = bytes(a & b for a, b in zip(seen, own, strict=True))
        wanted = bytes(a & b for a, b in zip(wanted, own, strict=True))
    if seen != wanted:
        yield f"operation {operation} {fields}: wanted {wanted.hex()}, seen {seen.hex()}"


def attack_differences(of: Release, report: Mapping[str, Sequence[Sequence[str]]]) -> Iterator[str]:
    """Yield attacks that were not held off by what should hold them, or did not work without."""
    for one in RING_ATTACKS:
        free, confined, compiled = (tuple(outcome) for outcome in report[one.name])
        if free[0] != "escaped":
            yield f"attack {one.name}: without the policy: {free}"
        held = {
            FILTERS: confined == ("refused", "EACCES"),
            PROGRAM: confined == ("refused", "EPERM"),
            INSTALL: _not_installed(confined),
            KERNEL: confined == (("refused", "EACCES") if of >= KEPT else ("escaped", "")),
        }
        if not held[one.held_by]:
            yield f"attack {one.name}: {confined}, not held off by {one.held_by}"
        answers = {"EACCES", "ENOSYS", *(("EPERM", "EINVAL") if one.held_by == PROGRAM else ())}
        refused = compiled[0] == "refused" and compiled[1] in answers
        if not (_not_installed(compiled) if one.held_by == INSTALL else refused):
            yield f"attack {one.name}: {compiled}, not held off by the compiled policy"


def _not_installed(outcome: tuple[str, ...]) -> bool:
    return outcome[0] == "unprepared" and NOT_INSTALLED in outcome[1]
