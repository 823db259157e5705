"""Take a kernel out of the program around it that unpacks it.

Emulated, that unpacking takes between half a second and two of each boot. What is wrapped in a way
not known here boots all the same, slower.
"""

from __future__ import annotations

import lzma
import re
import shutil
import struct
import subprocess
import zlib

from guests.packages import Unavailable

_XZ = b"\xfd7zXZ\0"
_TOOLS = {b"\x02!L\x18": "lz4", b"(\xb5/\xfd": "zstd"}
"""Commands by the first bytes of what they unpack."""

_PVH_NOTE = struct.pack("<III", 4, 8, 18) + b"Xen\0"
"""Note of an ELF file: a name of four bytes, a content of eight, XEN_ELFNOTE_PHYS32_ENTRY."""

_PC_LOAD = 0x100000
"""Where a boot loader puts the part of a bzImage that runs in protected mode."""

_ARM_LOAD = 0x40208000
"""Where the kernel can run on QEMU's ``virt``: at the offset that arch/arm/Makefile gives it
(``textofs-y``) from a multiple of 2 MiB. The first 2 MiB hold device tree and boot loader."""


def unwrapped(content: bytes) -> bytes:
    """Return what the emulator is to start of a kernel as it is in its package."""
    if content[4:8] == b"zimg":
        return _efi(content)
    if content[0x202:0x206] == b"HdrS":
        return _pc(content)
    if content[0x24:0x28] == struct.pack("<I", 0x016F2818):
        return _arm(content)
    return content


def _efi(content: bytes) -> bytes:
    """Unwrap an EFI program, which the emulator cannot start itself.

    See drivers/firmware/efi/libstub/zboot-header.S.
    """
    start, size = struct.unpack_from("<II", content, 8)
    image = _unpacked(content[start : start + size])
    if image is None:
        raise Unavailable("there is nothing here to unpack the kernel with: zstd is not installed")
    return image


def _pc(content: bytes) -> bytes:
    """Unwrap a bzImage; see Documentation/arch/x86/boot.rst."""
    setup_size = (content[0x1F1] + 1) * 512
    offset, size = struct.unpack_from("<II", content, 0x248)
    # The last four bytes are the size of what was packed.
    payload = content[setup_size + offset : setup_size + offset + size - 4]
    elf = _unpacked(payload)
    if elf is None or elf[:4] != b"\x7fELF":
        return content
    if elf[4] == 1:
        return _flat(content[:setup_size], elf)
    # The emulator enters a 64-bit kernel by way of PVH only.
    return elf if _PVH_NOTE in elf else content


def _flat(setup: bytes, elf: bytes) -> bytes:
    """Return a bzImage whose protected-mode part is a 32-bit kernel, where that wants to be."""
    entry, headers = struct.unpack_from("<II", elf, 24)
    (count,) = struct.unpack_from("<H", elf, 44)
    memory = bytearray()
    for index in range(count):
        kind, start, _, address, size = struct.unpack_from("<5I", elf, headers + 32 * index)
        if kind == 1:  # PT_LOAD
            place = address - _PC_LOAD
            memory.extend(bytes(max(0, place + size - len(memory))))
            memory[place : place + size] = elf[start : start + size]
    memory.extend(bytes(-len(memory) % 16))
    head = bytearray(setup)
    struct.pack_into("<I", head, 0x1F4, len(memory) // 16)  # syssize
    struct.pack_into("<I", head, 0x214, entry)  # code32_start
    return bytes(head + memory)


def _arm(content: bytes) -> bytes:
    """Unwrap a zImage into a uImage, which tells the emulator where to load it."""
    for found in re.finditer(re.escape(_XZ), content):
        try:
            image = _unpacked(content[found.start() :])
        except lzma.LZMAError:  # the unpacker knows these bytes, too
            continue
        assert image is not None

        def header(checksum: int, image: bytes = image) -> bytes:
            fields = (0x27051956, checksum, 0, len(image), _ARM_LOAD, _ARM_LOAD, zlib.crc32(image))
            system, machine, kind, packed = 5, 2, 2, 0  # Linux, ARM, a kernel, no
            return struct.pack(">7I4B32s", *fields, system, machine, kind, packed, b"Linux")

        return header(zlib.crc32(header(0))) + image
    return content


def _unpacked(content: bytes) -> bytes | None:
    """Unpack; None if that is not known here, or needs a command that is not installed."""
    if content.startswith(_XZ):
        return lzma.LZMADecompressor().decompress(content)
    tool = shutil.which(_TOOLS.get(content[:4], ""))
    if tool is None:
        return None
    return subprocess.run([tool, "-dc"], input=content, capture_output=True, check=True).stdout
