"""Public incidents, which the table of companions shows because `scan` found them.

Releases are those of the table: what came with glibc 2.34 is in 2.36 first.
"""

from __future__ import annotations

import pytest
from seccompgen.lint.companions import shipped_companions

_INCIDENTS = [
    ("glibc", "x86_64", "pthread_create", "clone3", "", "2.36", "ENOSYS>clone"),
    ("glibc", "x86_64", "posix_spawn", "clone3", "", "2.36", "ENOSYS>clone"),
    ("glibc", "x86_64", "fchmodat", "fchmodat2", "", "2.41", "ENOSYS>openat"),
    ("glibc", "x86_64", "faccessat", "faccessat2", "", "2.36", "ENOSYS>faccessat"),
    ("glibc", "x86_64", "closefrom", "close_range", "", "2.36", "any>openat"),
    ("glibc", "x86_64", "posix_spawn", "close_range", "", "2.36", None),
    ("glibc", "x86_64", "pthread_create", "rseq", "", "2.36", "none"),
    ("glibc", "x86_64", "(start)", "rseq", "", "2.36", None),
    ("glibc", "x86_64", "stat", "newfstatat", "", "2.36", None),
    ("glibc", "x86_64", "malloc", "prctl", "option=PR_SET_VMA", "2.41", None),
    ("glibc", "x86_64", "pthread_create", "prctl", "option=PR_SET_VMA", "2.41", None),
    ("glibc", "i386", "time", "clock_gettime64", "", "2.36", "ENOSYS>clock_gettime"),
    ("glibc", "i386", "ntp_gettime", "clock_adjtime64", "", "2.36", "ENOSYS>clock_adjtime"),
    ("glibc", "i386", "sem_timedwait", "futex_time64", "", "2.36", None),
    ("musl", "x86_64", "pwrite", "pwritev2", "", "1.2.6", "ENOSYS EOPNOTSUPP>fcntl"),
    ("musl", "x86_64", "fchmod", "fchmodat2", "", "1.2.5", "ENOSYS>openat"),
    ("python", "x86_64", "posix.closerange", "close_range", "", "3.11", "none"),
    ("python", "x86_64", "_posixsubprocess.fork_exec", "vfork", "", "3.11", None),
    ("systemd", "x86_64", "_nss_resolve_gethostbyname4_r", "pidfd_open", "", "257", None),
    ("glib", "x86_64", "g_spawn_sync", "close_range", "", "2.74", "none"),
    ("openssl", "x86_64", "RAND_poll", "shmget", "", "1.1.1d", None),
    ("glibc", "x86_64", "pthread_create", "madvise", "behavior=MADV_GUARD_INSTALL", "2.43", None),
]


@pytest.mark.parametrize(
    ("library", "abi", "function", "call", "constant", "since", "fallback"), _INCIDENTS
)
def test_the_table_shows_it(
    library: str,
    abi: str,
    function: str,
    call: str,
    constant: str,
    since: str,
    fallback: str | None,
) -> None:
    found = [
        row
        for row in shipped_companions().rows
        if (row.library, row.call, row.constant) == (library, call, constant)
        and abi in row.abis
        and function in row.functions
    ]
    known = shipped_companions().libraries[library]
    first = min((known.index(row.releases[0]) for row in found), default=-1)
    assert found, f"{function} of {library} does not call {call}"
    assert known[first] == since
    if fallback:
        assert any(fallback in str(row.fallback) for row in found)
