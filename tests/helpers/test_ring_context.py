"""The contexts of io_uring's filters, against bytes that kernels showed and addresses by hand."""

from __future__ import annotations

from typing import Any

import interpreter as bpf
import pytest
from interpreter import CONTEXT_SIZE, Refused, assemble, check, run
from ring_context import CONNECT, OPENAT, OPENAT2, SIZE, SOCKET, context, release, sockaddr

OLD, NEW = (7, 2, 13), (7, 3, 4)
HOW = {"flags": 1 << 40 | 0o100, "mode": 0o10644, "resolve": 1 << 63}
CREATED = {"flags": 0o100 | 0x8000000, "mode": 0o644}
TYPED = {"family": 0, "type": 0x80801, "protocol": 6}

SEEN = [
    ("x86_64", OLD, 0, {}, "00" * 16),
    ("x86_64", OLD, 0, {"sqe_flags": 4}, "0004" + "00" * 14),
    ("x86_64", OLD, 46, {}, "2e" + "00" * 15),
    ("x86_64", OLD, OPENAT, {}, "1200180000000000 0080"),
    ("x86_64", OLD, OPENAT, CREATED, "1210180000000000 4080000000000000 a401"),
    ("aarch64", OLD, OPENAT, CREATED, "1210180000000000 4000020000000000 a401"),
    ("ppc64le", OLD, OPENAT, CREATED, "1210180000000000 4000010000000000 a401"),
    ("s390x", OLD, OPENAT, CREATED, "1210180000000000 0000000000008040 00000000000001a4"),
    ("x86_64", OLD, OPENAT2, HOW, f"1c10180000000000 4080000000010000 a411{13 * '00'}80"),
    ("s390x", OLD, OPENAT2, HOW, f"1c10180000000000 0000010000008040 {6 * '00'}11a480"),
    ("x86_64", OLD, SOCKET, TYPED, "2d000c0000000000 00000000 01080800 06"),
    ("x86_64", NEW, SOCKET, TYPED, "2d000c0000000000 00000000 01000000 06"),
    ("x86_64", NEW, SOCKET, {"type": 0x8080F}, "2d000c0000000000 00000000 0f"),
    ("s390x", OLD, SOCKET, TYPED, "2d000c0000000000 00000000 00080801 00000006"),
]  # fmt: skip
"""By ABI and release what kernels showed from offset 8 on; zeros at the end are left out."""


@pytest.mark.parametrize(("abi", "of", "operation", "fields", "seen"), SEEN)
def test_it_is_what_kernels_showed(
    abi: str, of: tuple[int, int, int], operation: int, fields: dict[str, Any], seen: str
) -> None:
    order = order_of(abi)
    wanted = bytes.fromhex(seen).ljust(SIZE - 8, b"\0")
    assert context(operation, fields, abi, order, of).hex() == (bytes(8) + wanted).hex()


def order_of(abi: str) -> bpf.ByteOrder:
    return "big" if abi == "s390x" else "little"


def connects(
    of: tuple[int, int, int] = NEW, abi: str = "x86_64", **fields: int | str
) -> tuple[str, str, str]:
    """Return family, port with its padding, and address that a CONNECT shows, hexadecimal."""
    shown = context(CONNECT, fields, abi, order_of(abi), of)[16:].hex()
    return shown[:8], shown[8:16], shown[16:].rstrip("0")


def test_an_address_is_shown_as_far_as_its_length_covers_it() -> None:
    inet: dict[str, Any] = {"family": 2, "port": 5432, "address": "10.1.2.3"}
    assert connects(**inet) == ("02000000", "15380000", "0a010203")
    assert connects(abi="s390x", **inet) == ("00000002", "15380000", "0a010203")
    assert connects(length=128, **inet) == connects(length=1 << 32 | 16, **inet) == connects(**inet)
    assert connects(length=15, **inet) == ("02000000", "00000000", "")
    assert connects(length=2, **inet)[0] == "02000000"
    assert connects(length=1, **inet) == ("00000000", "00000000", "")
    assert connects((7, 1, 8), **inet) == ("00000000", "00000000", "")
    assert connects(family=1) == ("01000000", "00000000", "")


def test_ipv6_without_a_scope_is_shown_by_later_kernels_only() -> None:
    local: dict[str, Any] = {"family": 10, "port": 1, "address": "::1"}
    whole = ("0a000000", "00010000", "0" * 31 + "1")
    for length, early in ((28, True), (27, False), (24, False), (23, False)):
        assert (connects((7, 2, 9), length=length, **local) == whole) == early
        assert (connects((7, 2, 11), length=length, **local) == whole) == (length >= 24)


def test_open_flags_are_those_that_the_kernel_knows() -> None:
    def shown(flags: int, mode: int = 0, abi: str = "x86_64", of: Any = OLD) -> tuple[int, ...]:
        seen = context(OPENAT, {"flags": flags, "mode": mode}, abi, "little", of)
        return tuple(int.from_bytes(seen[n : n + 8], "little") for n in (16, 24, 32))

    assert shown(0xFFFFFFFF) == (0o12600000, 0, 0)  # O_PATH, and what goes with it
    assert shown(0xFFFFFFFF & ~0o10000000, 0xFFFF) == (0x45FFFC3, 0o7777, 0)
    assert shown(1 << 26, of=(7, 1, 13))[0] == 0x8000
    assert shown(1 << 26)[0] == 0x4008000
    assert shown(1, 0o644) == (0x8001, 0, 0)


def test_a_candidate_comes_before_its_release() -> None:
    versions = ["7.0.4-1", "7.2.9-1~bpo13+1", "7.2.13-1", "7.3~rc7-1~exp1", "7.3-1", "7.3.4-1"]
    releases = [release(version) for version in versions]
    assert releases == sorted(releases)
    assert releases[2:5] == [(7, 2, 13), (7, 3, -1), (7, 3, 0)]


def test_the_address_itself_has_what_filters_do_not_see() -> None:
    local = sockaddr({"family": 10, "port": 5432, "address": "::1"}, "big")
    assert (local[:4].hex(), len(local)) == ("000a1538", 28)
    assert sockaddr({"family": 1}, "little")[:8] == b"\1\0/tmp/x"


def test_the_interpreter_runs_on_contexts() -> None:
    load = bpf.LD | bpf.W | bpf.ABS
    last = assemble([(load, 0, 0, 36), (bpf.RET | bpf.A, 0, 0, 0)], "little")
    check(last, "little", CONTEXT_SIZE)
    seen = context(CONNECT, {"family": 10, "address": "::1"}, "x86_64", "little", NEW)
    assert run(last, seen, "little").value == 0x01000000
    beyond = assemble([(load, 0, 0, 40), (bpf.RET | bpf.A, 0, 0, 0)], "little")
    check(beyond, "little")
    with pytest.raises(Refused):
        check(beyond, "little", CONTEXT_SIZE)
    with pytest.raises(Refused):
        run(beyond, seen, "little")
    for length in ((bpf.LD | bpf.W | bpf.LEN,), (bpf.LDX | bpf.W | bpf.LEN, bpf.MISC | bpf.TXA)):
        code = [*((one, 0, 0, 0) for one in length), (bpf.RET | bpf.A, 0, 0, 0)]
        assert run(assemble(code, "big"), seen, "big").value == SIZE
