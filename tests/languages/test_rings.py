"""Filters of rings in other languages than Python: their files, and what install() does here.

The kernel here need not have such filters; guests have.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command import inside, snapshot
from seccompgen.languages import DEFAULT, NAMES, language
from seccompgen.pipeline.build import build_policy, shipped_tables

GOLDEN = Path(__file__).parent / "golden_rings"
OTHERS = [name for name in NAMES if language(name).filters_rings and name != DEFAULT]
HEAD = "arches: [x86_64, aarch64]\ndefault_action: allow\nsyscalls: []\nio_uring:\n"
POLICY = f"""{HEAD}
  default_action: deny
  without: WITHOUT
  operations:
  - {{action: allow, names: ['@read', NOP]}}
  - {{action: allow, names: [CONNECT], when: addr == 10.1.2.3}}
"""


@pytest.mark.parametrize("name", OTHERS)
def test_the_files_are_those_that_were_looked_at(name: str) -> None:
    tables = shipped_tables()
    files = language(name).write(build_policy(GOLDEN / "rings.yml", tables), tables)
    update = f"cd {GOLDEN} && seccompgen build rings.yml --format {name} -o {name}"
    assert files == snapshot(GOLDEN / name), f"if that is right: {update}"


@pytest.mark.parametrize("name", [name for name in NAMES if not language(name).filters_rings])
def test_a_language_without_them_refuses(name: str, tmp_path: Path) -> None:
    (tmp_path / "demo.yml").write_text(POLICY.replace("WITHOUT", "fail"))
    run = inside("build", "demo.yml", "--format", name, "-o", "out", cwd=tmp_path)
    assert run.code == 2
    assert f"demo.yml:6:3: {name} cannot filter rings" in run.err
    assert all(f" {one}" in run.err.rpartition("use")[2] for one in (DEFAULT, *OTHERS))


MAIN = """
#include "refusing.h"
#include "failing.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void *sleeps(void *none) { for (;;) sleep(1000); return none; }
static void *ends(void *none) { return none; }

int main(int count, char **words)
{
    static char memory[3 * 65536] __attribute__((__aligned__(65536)));
    __u32 params[30] = {0};
    __u64 at;
    const char *before = words[2];
    pthread_t thread;
    long ring = 0;
    int i, result;

    if (strcmp(before, "thread") == 0)
        pthread_create(&thread, NULL, sleeps, NULL);
    for (i = 0; strcmp(before, "joined") == 0 && i < 30; i++) {
        pthread_create(&thread, NULL, ends, NULL);
        pthread_join(thread, NULL);
    }
    if (strcmp(before, "registered") == 0) {
        params[2] = 1 << 14 | 1 << 15;  /* NO_MMAP, REGISTERED_FD_ONLY */
        at = (__u64)(unsigned long)memory;
        memcpy(params + 18, &at, sizeof(at));
        at += 65536;
        memcpy(params + 28, &at, sizeof(at));
    }
    if (strchr("omrc", before[0]) != NULL && before[0] != 0)
        ring = syscall(refusing_NR_io_uring_setup, 1L, params, 0L, 0L, 0L, 0L);
    if (ring < 0)
        return 77;
    if (strcmp(before, "mapped") == 0)
        mmap(NULL, 4096, PROT_READ, MAP_SHARED, (int)ring, 0);
    if (before[0] == 'm' || before[0] == 'c')
        close((int)ring);
    if (words[1][0] == 't')
        return refusing_try();
    result = words[1][0] == 'r' ? refusing_install() : failing_install();
    printf("%d ", result);
    if (result < 0)
        printf("%d ", errno);
    printf("%d", refusing_has_rings());
    return count == 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile headers with both words for `without`, and ``MAIN``."""
    where = tmp_path_factory.mktemp("c")
    for name, word in (("refusing", "refuse_rings"), ("failing", "fail")):
        (where / f"{name}.yml").write_text(POLICY.replace("WITHOUT", word))
        run = inside("build", f"{name}.yml", "--format", "c", "-o", "out", cwd=where)
        assert run.code == 0, run.err
    (where / "main.c").write_text(MAIN)
    compiled(where, "main.c", "main")
    return where


def compiled(where: Path, source: str, program: str, *options: str) -> None:
    strict = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-result", "-D_GNU_SOURCE", "-Iout"]
    command = ["gcc", *strict, *options, source, "-o", program, "-pthread"]
    subprocess.run(command, cwd=where, check=True)


def ran(program: Path, *words: str, name: str = "main") -> str:
    command = [str(program / name), *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode == 77:
        pytest.skip("no ring can be made here")
    return run.stdout or str(run.returncode)


needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")


@needs_gcc
@pytest.mark.parametrize("standard", ["-std=c89", "-std=c99"])
def test_strict_c_takes_the_header(standard: str, program: Path) -> None:
    text = '#include "refusing.h"\n#include "failing.h"\nint main(void) { return 0; }\n'
    (program / "strict.c").write_text(text)
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic-errors", "-O2", "-Iout", "-fsyntax-only"]
    subprocess.run(["gcc", standard, *strict, "strict.c"], cwd=program, check=True)


@needs_gcc
@pytest.mark.parametrize("before", ["thread", "open", "mapped", "registered"])
@pytest.mark.parametrize("without", ["refusing", "failing"])
def test_threads_and_rings_that_exist_are_refused(without: str, before: str, program: Path) -> None:
    """And nothing is in force then: a ring can still be made."""
    assert ran(program, without, before) == "-1 16 1"


@needs_gcc
@pytest.mark.parametrize("before", ["", "joined", "closed"])
def test_where_the_kernel_cannot_filter_the_policy_decides(before: str, program: Path) -> None:
    """EOPNOTSUPP from a kernel before 7.0, and EPERM or ENOSYS from a sandbox's filter."""
    refusing = ran(program, "refusing", before)
    if refusing == "0 1":
        pytest.skip("the kernel here filters rings")
    assert refusing == "0 0"
    assert re.fullmatch(r"-1 \d+ 1|0 [01]", ran(program, "failing", before))


@needs_gcc
def test_trials_tell_what_is_let_through(program: Path) -> None:
    """In a process whose ring has no filters: NOP is permitted as meant, a connection is not."""
    assert ran(program, "try", "") in {"1", "3", "4"}
    header = (program / "out" / "refusing.h").read_text()
    for name, permitted, outcome in (("all", "1", "0"), ("none", "0", "1")):
        changed = re.sub(
            r"^(    \{\d+), [01], (\d+, \{)", rf"\g<1>, {permitted}, \2", header, flags=re.M
        )
        (program / name).mkdir()
        (program / name / "refusing.h").write_text(changed)
        compiled(program, "main.c", f"main-{name}", "-I", name, "-iquote", name)
        assert ran(program, "try", "", name=f"main-{name}") in {outcome, "3", "4"}


RELEASES = """
#include <sys/utsname.h>
static const char *release;
static int other_uname(struct utsname *kernel)
{
    char *to = kernel->release;
    const char *from = release;
    while ((*to++ = *from++) != 0)
        ;
    return 0;
}
#define uname other_uname
#include "refusing.h"
#include <stdio.h>
int main(int count, char **words)
{
    for (release = *++words; release; release = *++words)
        printf("%d", refusing_kept_at_exec());
    return count == 0;
}
"""


@needs_gcc
def test_releases_that_lose_filters_at_exec(program: Path) -> None:
    """The kernel loses them up to 7.1.7; nobody has tried 7.2.0 to 7.2.5."""
    (program / "releases.c").write_text(RELEASES)
    compiled(program, "releases.c", "releases")
    lose = ["6.18.3", "7.0.13+deb13-cloud-amd64", "7.1.7", "7.1", "7.1-rc9", "7.2.5", "x", ""]
    keep = ["7.1.8", "7.1.13-generic", "7.2.6", "7.3-rc7", "7.3", "8.0.1", "10.0"]
    assert ran(program, *lose, name="releases") == "0" * len(lose)
    assert ran(program, *keep, name="releases") == "1" * len(keep)
