"""Read what the kernel logs of filters: lines of audit, as they come to /dev/kmsg.

Where no audit daemon runs the kernel prints its records (kernel/audit.c, kauditd_printk_skb), one
for each call that a filter answers by LOG or KILL_*, and for all that it does not allow where the
filter has the flag LOG (kernel/seccomp.c, seccomp_log).
"""

import os
import re
import time

_LINE = re.compile(
    rb"type=1326 .*? pid=(\d+) .* arch=([0-9a-f]+) syscall=(-?\d+) .* code=0x([0-9a-f]+)"
)


class KernelLog:
    """The log since this was made: by process, number, arch and action of each call."""

    def __init__(self) -> None:
        # Unlimited: the records are the result.
        with open("/proc/sys/kernel/printk_ratelimit", "w") as file:
            file.write("0")
        self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._file, 0, os.SEEK_END)
        self.calls: dict[int, list[tuple[int, int, int]]] = {}
        self.overrun = False

    def read(self) -> int:
        """Take what there is, before the kernel's buffer is full; return how many records."""
        count = 0
        while True:
            try:
                line = os.read(self._file, 8192)
            except BlockingIOError:
                return count
            except BrokenPipeError:  # it went round; the next read goes on with the oldest
                self.overrun = True
                continue
            count += 1
            match = _LINE.search(line)
            if match:
                pid, arch, nr, code = match.groups()
                call = (int(nr) & 0xFFFFFFFF, int(arch, 16), int(code, 16))
                self.calls.setdefault(int(pid), []).append(call)

    def finish(self) -> None:
        """Take what kauditd, a thread of the kernel's, has yet to print."""
        quiet = 0
        while quiet < 5:
            time.sleep(0.02)
            quiet = 0 if self.read() else quiet + 1
