"""Functions that the code of a program names, and what their calls give.

An ELF file lists, for the loader, the names of the functions that it imports. Reading them takes
milliseconds, and people who know the program recognize them: redis-server has `connect`. Go
programs and static ones contain the names of all their functions. C libraries are not read: their
functions have these names, and could do everything. So the names show what code may do, not that it
does it, nor for which files it calls `open`.

Sources: sections 2 and 3 of the manual; Go's runtime/symtab.go for names without a symbol table.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seccompgen.io.reading import read_file
from seccompgen.kernel.powers import powers
from seccompgen.run.record.closure import ORDINARY
from seccompgen.run.symbols import defined_names, imported_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seccompgen.kernel.powers import PowerLine
    from seccompgen.run.record.observations import ExecutedProgram

_STARTING = "system popen wordexp posix_spawn posix_spawnp forkpty"
_RESOLVING = (
    "getaddrinfo getnameinfo gethostbyname gethostbyname_r gethostbyname2 gethostbyname2_r "
    "gethostbyaddr gethostbyaddr_r res_query res_search res_nquery res_nsearch"
)
_LOGGING = "syslog vsyslog"
_KINDS: Mapping[str, str] = {
    "files-read": "fopen opendir scandir glob ftw nftw fts_open realpath",
    "files-write": (
        "open openat fopen freopen tmpfile mkstemp mkostemp mkstemps mkostemps mkdtemp remove "
        "mkfifo mkfifoat futimes futimens lutimes lchmod shm_open shm_unlink sem_open sem_unlink"
    ),
    "processes": f"{_STARTING} fork vfork daemon forkexec",
    "exec": f"{_STARTING} execl execle execlp execv execvp execvpe fexecve forkexec",
    "unix": f"socket {_LOGGING}",
    "internet": f"socket {_RESOLVING}",
    "connect": f"{_LOGGING} {_RESOLVING} sendto",
    "listen": "bindresvport",
}
"""By kind, functions that are named like no call, or like a call whose arguments decide."""
_CALLS: Mapping[str, str] = {
    "killpg": "kill",
    "pthread_kill": "tgkill",
    "sigqueue": "rt_sigqueueinfo",
    "setrlimit": "prlimit64",
    "prlimit": "prlimit64",
    "nice": "nice setpriority",
    "pthread_setaffinity_np": "sched_setaffinity",
    "pthread_setschedparam": "sched_setscheduler",
    "seteuid": "setuid",
    "setegid": "setgid",
    "initgroups": "setgroups",
    "cap_set_proc": "capset",
    "klogctl": "syslog",
    "io_uring_queue_init": "io_uring_setup",
    "io_uring_queue_init_params": "io_uring_setup",
    "syscall": "",
}
"""By function, the calls that it makes, if they have other names."""
_CASES: Mapping[str, str] = {"prlimit64": "limits"}
"""By call whose arguments decide: the kind for which functions make it."""
_PLAIN = re.compile(r"_*(.+?)(?:64)?(?:_2|_chk|_time64)?")
"""A function's name, around it the prefixes and suffixes of C libraries: ``__open64_2``."""
_C_LIBRARY = re.compile(
    r"(ld-|lib(c|m|pthread|dl|rt|util|resolv|nsl|anl|gcc_s|stdc\+\+|c\+\+|c\+\+abi|nss_\w+)[-.])"
)
_INTERPRETER = re.compile(
    r"(python|pypy|perl|ruby|node|nodejs|deno|bun|php|lua|luajit|tclsh|wish|Rscript|R|julia|guile|"
    r"java|beam\.smp|pwsh|bash|dash|sh|zsh|ksh|mksh|ash|fish|busybox|gawk|mawk)[\d.]*"
)
_OF_GO = re.compile(
    rb"\0(?:syscall|internal/syscall/unix|golang\.org/x/sys/unix)\.(\w{2,40})(?=\0)"
)
_FILE_MAX = 1 << 28
"""The largest file, in bytes, that is read."""


class NamedFunction(NamedTuple):
    """A function, and the name of the file that names it; ``own`` if that is the program itself."""

    function: str
    file: str
    own: bool


class CodeNames(NamedTuple):
    """The functions that programs name: by kind if ordinary, by call and line for mighty kinds.

    ``foreseeable`` is False if the names do not show all that the code can do: for interpreters,
    and for programs that name no function.
    """

    kinds: Mapping[str, tuple[NamedFunction, ...]]
    calls: Mapping[tuple[str, PowerLine], tuple[NamedFunction, ...]]
    foreseeable: bool


def code_names(programs: Iterable[ExecutedProgram]) -> CodeNames:
    """Return the functions that ``programs`` name; files that cannot be read name none."""
    kinds: dict[str, dict[NamedFunction, None]] = {}
    calls: dict[tuple[str, PowerLine], dict[NamedFunction, None]] = {}
    foreseeable = True
    for path, libraries in programs:
        foreseeable = foreseeable and not is_interpreter(path) and bool(_names(path))
        for file in (path, *(one for one in libraries if not _is_of_c(one))):
            own = file == path or _is_interpreter_of(file, path)
            for function in _names(file):
                found = NamedFunction(function, Path(file).name, own)
                for kind in _kinds_of(function):
                    kinds.setdefault(kind, {})[found] = None
                # Libraries contain much that this program does not use.
                for call in _mighty_calls(function) if found.own else ():
                    calls.setdefault(call, {})[found] = None
    return CodeNames(
        {kind: tuple(those) for kind, those in kinds.items()},
        {call: tuple(those) for call, those in calls.items()},
        foreseeable,
    )


def is_interpreter(path: str) -> bool:
    """Return True if a program runs scripts that others write, and so may do everything."""
    return _INTERPRETER.fullmatch(Path(path).name) is not None


def _is_interpreter_of(library: str, path: str) -> bool:
    """Return True if a library contains the interpreter: libpython3.13.so.1.0 for python3."""
    match = _INTERPRETER.fullmatch(Path(path).name)
    return match is not None and Path(library).name.startswith(f"lib{match[1]}")


def _is_of_c(path: str) -> bool:
    return _C_LIBRARY.match(Path(path).name) is not None


@lru_cache(maxsize=256)
def _names(path: str) -> tuple[str, ...]:
    """Return the names of functions in a file, sorted, without a C library's affixes."""
    try:
        data = read_file(Path(path), _FILE_MAX)
    except OSError:
        return ()
    names = set(imported_names(data))
    if go := {name.decode().lower() for name in _OF_GO.findall(data)}:
        names |= go
    elif not names:
        names |= defined_names(data)
    return tuple(sorted({match[1] for one in names if (match := _PLAIN.fullmatch(one))}))


@lru_cache(maxsize=1 << 14)
def _kinds_of(function: str) -> tuple[str, ...]:
    """Return the ordinary kinds that a function belongs to."""
    found = [kind for kind, listed in _KINDS.items() if function in listed.split()]
    lines = () if found else powers().of(function)
    return tuple(found) or tuple(
        line.power.name for line in lines[-1:] if line.power.name in ORDINARY
    )


@lru_cache(maxsize=1 << 14)
def _mighty_calls(function: str) -> tuple[tuple[str, PowerLine], ...]:
    """Return the calls of mighty kinds that a function makes.

    Calls whose arguments decide what they give are left out: no name shows what such a call gives.
    """
    if _kinds_of(function):
        return ()
    made = _CALLS.get(function, function).split()
    return tuple((call, line) for call in made if (line := _line_of(call)))


def _line_of(call: str) -> PowerLine | None:
    lines = [one for one in powers().of(call) if one.power.name == _CASES.get(call, one.power.name)]
    if len(lines) != 1 or not lines[0].power.gives or lines[0].power.name in ORDINARY:
        return None
    return lines[0]
