"""Android's lists of system calls, read as the filters that bionic generates from them."""

from seccompgen.formats.declaration import Format

FORMAT = Format(
    title="[Android](#android)'s SYSCALLS.TXT",
    meaning="bionic's filters",
    signs=(
        r"(?ma)^[A-Za-z_][\w \t*]*[ \t*]\w+(?:\|[\w,]+)?(?::\w+)*[ \t]*\([^()\n]*\)[ \t]+"
        r"(?:all|lp32|lp64|arm|arm64|riscv64|x86|x86_64)(?:,[\w!]+)*[ \t]*(?:#.*)?\r?$",
    ),
    several=True,
)
