"""Functions that are looked up by their names: by ``dlsym``, and by the program's interpreter."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from c_programs import HEAD
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import Scan, scan

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs are written for x86_64"
)

EXIT = "enter(60, 0, 0, 0); __builtin_unreachable();"
EXPORTED = "void at_start(void) { enter(39, 0, 0, 0); } void unasked(void) { enter(102, 0, 0, 0); }"


def built(path: Path, source: str, *options: str) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    flags = ("-nostdlib", "-ffreestanding", "-fno-stack-protector", "-O1", "-fPIC", *options)
    subprocess.run(
        ["gcc", *flags, "-x", "c", "-o", path, "-"],
        input=f"{HEAD} {source} void _start(void) {{ {EXIT} }}",
        text=True,
        check=True,
    )
    return path


def started_by(directory: Path, interpreter: str) -> Scan:
    """Scan a program that exports functions, and is started by a file made of ``interpreter``."""
    loader = built(directory / "loader", interpreter, "-shared")
    options = ("-pie", "-Wl,--export-dynamic", f"-Wl,--dynamic-linker={loader}")
    program = built(directory / "program", EXPORTED, *options)
    return scan(program, shipped_tables(), (), (), Path("/"))


FINDS = "FAR void *find(const char *name) { return (void *)name; }"


@pytest.mark.parametrize(
    "interpreter",
    [
        pytest.param(FINDS + 'void *use(void) { return find("at_start"); }', id="in code"),
        pytest.param('const char *volatile wanted = "at_start";', id="in data"),
        pytest.param(
            FINDS
            + 'void *one(void) { return find("never_at_start"); }'
            + 'void *use(void) { return find("at_start"); }',
            id="as the end of another name",
        ),
    ],
)
def test_the_interpreter_looks_functions_up_without_dlsym(tmp_path: Path, interpreter: str) -> None:
    """ld.so calls __libc_early_init() of libc, which nothing else refers to."""
    found = started_by(tmp_path, interpreter)
    assert "getpid" in found.names
    assert "getuid" not in found.names


def test_text_that_the_interpreter_does_not_refer_to_is_not_looked_up(tmp_path: Path) -> None:
    found = started_by(tmp_path, 'const char list[] = "other\\0at_start\\0unasked";')
    assert not {"getpid", "getuid"} & set(found.names)


def test_thread_local_data_leads_to_no_slot(tmp_path: Path) -> None:
    """Its module and offset are in the table of slots, whose address elsewhere leads to all."""
    source = (
        "extern void unasked(void); __attribute__((used)) static void *never(void) {"
        "return unasked; } __thread int one, two; FAR int *use(int *p) { return p ? &one : &two; }"
    )
    assert (
        "getuid" not in started_by(tmp_path, source + "int *(*volatile used)(int *) = use;").names
    )


def asking(directory: Path, source: str, link: str = "-pie", *options: str) -> Scan:
    """Scan a program of ``source``, which exports functions, and a library that has dlsym()."""
    finds = "void *dlsym(void *h, const char *n) { return 0; }"
    library = built(directory / "libfind.so", finds, "-shared")
    exports = "-Wl,--export-dynamic,--no-as-needed"
    options = (link, *options, exports, f"-Wl,--dynamic-linker={library}")
    declared = "extern void *dlsym(void *, const char *); void *volatile got; "
    program = built(directory / "program", EXPORTED + declared + source, *options, str(library))
    return scan(program, shipped_tables(), (), (directory,), Path("/"))


@pytest.mark.parametrize(
    ("source", "unasked"),
    [
        pytest.param('got = dlsym(0, "at_start"); got = "unasked";', False, id="a constant"),
        pytest.param('got = dlsym(0, got ? "at_start" : "unasked");', True, id="one of two"),
        pytest.param('got = dlsym(0, got); got = "at_start"; got = "unasked";', True, id="any"),
        pytest.param(
            'got = dlsym(0, "at_start"); got = dlsym; got = "unasked";', True, id="handed on"
        ),
    ],
)
def test_a_name_is_followed_where_it_is_constant(
    tmp_path: Path, source: str, *, unasked: bool
) -> None:
    """Otherwise each word counts that code refers to."""
    found = asking(tmp_path, f"__attribute__((constructor)) void use(void) {{ {source} }}")
    assert "getpid" in found.names
    assert ("getuid" in found.names) == unasked


@pytest.mark.parametrize(
    ("source", "unasked"),
    [
        pytest.param('got = "not_unasked";', False, id="its end is nowhere"),
        pytest.param('got = &"not_unasked"[4];', True, id="in code"),
        pytest.param('const char *volatile end = &"not_unasked"[4];', True, id="in data"),
        pytest.param(
            "struct __attribute__((packed)) { char c; const char *end; } volatile one ="
            ' {1, &"not_unasked"[4]};',
            True,
            id="unaligned",
        ),
        pytest.param('got = "unasked";', True, id="the whole"),
    ],
)
def test_the_end_of_a_name_counts_where_something_refers_to_it(
    tmp_path: Path, source: str, *, unasked: bool
) -> None:
    """Also in files that are loaded at one address, which have no relocations to say so."""
    code = "{}" if "got" not in source else f"{{ {source} }}"
    data = "" if "got" in source else source
    use = f"{data} __attribute__((constructor)) void use(void) {code}"
    asks = "__attribute__((constructor)) void ask(void) { got = dlsym(0, got); }"
    found = asking(tmp_path, use + asks, "-no-pie", "-fno-pic")
    assert ("getuid" in found.names) == unasked
