"""The names of places: of real programs as the linker wrote them, and of files laid out by hand."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import privileges
import pytest
import running_kernel as kernel
from command import forked
from seccompgen.run.symbols import file_symbols

if TYPE_CHECKING:
    from pathlib import Path

kernel.require_x86_64()

SOURCE = r"""
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static void *in_thread(void *unused) {
    struct sockaddr_in here = {.sin_family = AF_INET};
    connect(0, (struct sockaddr *)&here, sizeof here);  /* can be cancelled */
    return unused;
}

__attribute__((noinline)) long own(void) {
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(110) : "rcx", "r11", "memory");
    return result;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, in_thread, 0);
    pthread_join(thread, 0);
    unlink("nothing");
    own();
    return 0;
}
"""
POLICY = "default_action: allow\nsyscalls:\n- {action: errno, names: [connect, unlink, getppid]}\n"


@pytest.mark.parametrize(
    ("by", "options"),
    [("notify", []), ("ptrace", ["-no-pie"]), ("notify", ["-fno-plt", "-z", "lazy"])],
    ids=["notify", "ptrace", "no plt"],
)
def test_a_place_has_the_name_of_its_function_and_of_its_callers(
    by: str, options: list[str], tmp_path: Path
) -> None:
    program, source = tmp_path / "program", tmp_path / "program.c"
    source.write_text(SOURCE)
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    subprocess.run(["gcc", "-O2", *options, "-o", program, source, "-lpthread"], check=True)
    (tmp_path / "policy.yml").write_text(POLICY)
    words: list[str | Path] = ["--trace", "--by", by, "--json", tmp_path / "policy.yml", "--"]

    def told() -> dict[str, list[dict[str, Any]]]:
        lines = forked("run", *words, program).err.splitlines()
        refusals = [json.loads(line) for line in lines]
        return {one["syscall"]: [one["place"], *one["callers"]] for one in refusals}

    places = told()
    assert {call: [one["function"] for one in stack] for call, stack in places.items()} == {
        "connect": ["connect", "in_thread"],
        "unlink": ["unlink", "main"],
        "getppid": ["own", "main"],
    }
    listed = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    starts = {
        name: int(line.split()[0], 16)
        for line in listed.splitlines()
        for name in ("own", "main", "in_thread")
        if line.endswith(f" {name}")
    }
    for stack in places.values():
        for one in stack:
            # The code of these is mapped where it is in the file, but for the address of the first.
            if one["function"] in starts:
                assert one["file"] == str(program)
                assert (one["offset"] - one["within"] - starts[one["function"]]) % 0x1000 == 0
    content = program.read_bytes()
    own, main = places["getppid"]
    assert content[own["offset"] - 2 : own["offset"]] == b"\x0f\x05"
    call = main["offset"]
    assert content[call - 5] == 0xE8
    assert call + int.from_bytes(content[call - 4 : call], "little", signed=True) == (
        own["offset"] - own["within"]
    )
    # Without names, what is between may be several functions; but libc's are known.
    subprocess.run(["strip", "-s", program], check=True)
    stripped = told()
    assert stripped["unlink"] == [
        places["unlink"][0],
        places["unlink"][1] | {"function": "", "within": 0},
    ]
    assert stripped["getppid"] == [own | {"function": "", "within": 0}]


LEFT_OVER = r"""
#include <unistd.h>

__attribute__((noinline)) void deeper(void) { asm volatile("" ::: "memory"); }

__attribute__((noinline)) void before(void) {
    void *room[40];
    asm volatile("" : : "r"(room) : "memory");
    deeper();
    asm volatile("" : : "r"(room) : "memory");
}

__attribute__((noinline)) long quiet(long (*call)(void)) {
    void *room[60];  /* what `before` left is in it */
    asm volatile("" : : "r"(room) : "memory");
    return call() + 1;
}

__attribute__((noinline)) long ask(void) {
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(110) : "rcx", "r11", "memory");
    return result;
}

int main(void) {
    before();
    return quiet(ask) == 0;
}
"""


def test_what_is_left_over_on_the_stack_is_no_caller(tmp_path: Path) -> None:
    """A call by a register tells nothing, so that the chain ends there."""
    program, source = tmp_path / "program", tmp_path / "program.c"
    source.write_text(LEFT_OVER)
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    subprocess.run(["gcc", "-O1", "-o", program, source], check=True)
    (tmp_path / "policy.yml").write_text(POLICY)
    done = forked("run", "--trace", "--json", tmp_path / "policy.yml", "--", program)
    told = json.loads(done.err)
    assert (told["place"]["function"], told["callers"]) == ("ask", [])


@pytest.mark.parametrize("by", ["notify", "ptrace"])
def test_functions_have_names_below_another_root(by: str, tmp_path: Path) -> None:
    program, source = tmp_path / "root" / "program", tmp_path / "program.c"
    program.parent.mkdir()
    source.write_text(LEFT_OVER)
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    subprocess.run(["gcc", "-O1", "-static", "-o", program, source], check=True)
    (tmp_path / "policy.yml").write_text(POLICY)
    enter = f"import os; os.chroot({str(program.parent)!r}); os.execv('/program', ['program'])"
    words = ["--trace", "--by", by, "--json", str(tmp_path / "policy.yml"), "--"]
    privileges.require()
    words += [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]
    done = forked("run", *words, sys.executable, "-c", enter)
    told = [json.loads(line)["place"] for line in done.err.splitlines()]
    assert ("ask", str(program)) in [(one["function"], one["file"]) for one in told]


def elf(bits: int, order: str, symbols: list[tuple[str, int, int, int]]) -> bytes:
    """Return a file whose code is at offset 0x100, 0x100 bytes, mapped to 0x5100."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, *_ in symbols)
    table, at = b"", 1
    for name, address, size, kind in [("", 0, 0, 0), *symbols]:
        if bits == 64:
            table += struct.pack(order + "IBBHQQ", at, kind, 0, 1, address, size)
        else:
            table += struct.pack(order + "IIIBBH", at, address, size, kind, 0, 1)
        at += len(name) + 1 if name else 0
    body, offset = table + names, 0x200  # behind the code
    if bits == 64:
        segment = struct.pack(order + "IIQQQQQQ", 1, 5, 0x100, 0x5100, 0, 0x100, 0x100, 1)
        section = order + "IIQQQQIIQQ"
    else:
        segment = struct.pack(order + "IIIIIIII", 1, 0x100, 0x5100, 0, 0x100, 0x100, 5, 1)
        section = order + "IIIIIIIIII"
    sections = b"".join(
        struct.pack(section, 0, kind, 0, 0, start, size, link, 0, 1, 24 if bits == 64 else 16)
        for kind, start, size, link in (
            (0, 0, 0, 0),
            (2, offset, len(table), 2),
            (3, offset + len(table), len(names), 0),
        )
    )
    heads = (64, len(segment)) if bits == 64 else (52, len(segment))
    header = b"\x7fELF" + bytes((bits // 32, 1 if order == "<" else 2, 1))
    header = header.ljust(16, b"\0") + struct.pack(order + "HHI", 3, 62 if bits == 64 else 3, 1)
    word = "Q" if bits == 64 else "I"
    end = offset + len(body)
    header += struct.pack(order + word * 3 + "I", 0, heads[0], end, 0)
    header += struct.pack(order + "6H", *heads, 1, struct.calcsize(section), 3, 2)
    return (header + segment).ljust(offset, b"\0") + body + sections


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [32, 64])
def test_every_width_and_byte_order_is_read(bits: int, order: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    function, data = 2, 1
    file.write_bytes(
        elf(
            bits,
            order,
            [
                ("__libc_open", 0x5110, 0x20, function),
                ("open", 0x5110, 0x20, function),
                ("inner", 0x5120, 0x08, function),
                ("table", 0x5140, 0x20, data),
                ("long" * 1000, 0x5170, 0x10, function),
                ("bare", 0x5180, 0, function),
            ],
        )
    )
    symbols = file_symbols(file)
    assert symbols
    around = {
        0x110: None,  # what ends where a function begins is not in it
        0x112: ("open", 2),
        0x128: ("inner", 8),
        0x129: ("open", 0x19),  # around the inner one
        0x130: ("open", 0x20),  # its last instruction
        0x131: None,
        0x150: None,  # data
        0x171: ("long" * 256, 1),
        0x181: ("bare", 1),  # of no size: up to the next
        0x200: ("bare", 0x80),
        0x201: None,  # behind what is mapped
        0x20: None,
    }
    assert {offset: symbols.around(offset) for offset in around} == around
    assert symbols.names_between(0x110, 0x121)
    assert not symbols.names_between(0x110, 0x120)
    file.write_bytes(elf(bits, order, [])[:0x210])
    assert file_symbols(file) is None
