"""A message that hands over a descriptor, prepared before a filter is in force.

Sources: unix(7), sendmsg(2), cmsg(3).
"""

from __future__ import annotations

import ctypes
import socket
import struct


class _IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _MessageHeader(ctypes.Structure):
    """``struct msghdr`` of the kernel."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_int),
        ("vector", ctypes.POINTER(_IoVector)),
        ("vectors", ctypes.c_size_t),
        ("control", ctypes.c_char_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_uint),
    )


class DescriptorMessage:
    """A message of one byte and one descriptor; `hold` inserts the descriptor."""

    def __init__(self) -> None:
        size = struct.calcsize("@Nii") + struct.calcsize("i")
        self._control = ctypes.create_string_buffer(-(-size // 8) * 8)
        struct.pack_into("@Niii", self._control, 0, size, socket.SOL_SOCKET, socket.SCM_RIGHTS, -1)
        self._vector = _IoVector(b"L", 1)
        self._header = _MessageHeader(
            vector=ctypes.pointer(self._vector),
            vectors=1,
            control=ctypes.cast(self._control, ctypes.c_char_p),
            control_length=size,
        )
        self.reference = ctypes.byref(self._header)

    def hold(self, descriptor: int) -> None:
        """Insert the descriptor."""
        struct.pack_into("@i", self._control, struct.calcsize("@Nii"), descriptor)
