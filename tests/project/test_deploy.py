"""The examples that need nothing but the standard library, as their pages in docs/deploy show them.

Those that need packages are in tests/ecosystem.
"""

from __future__ import annotations

import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import walkthrough
from command import ROOT, seccompgen

if TYPE_CHECKING:
    from collections.abc import Callable

    from _pytest.mark import ParameterSet

PAGES = ["asyncio", "multiprocessing", "subprocess", "threads"]
OF_THEIR_OWN = {"README", "report-only"}
"""Pages that show no example of `examples/`."""
ELSEWHERE = {"supervisor"}
"""Pages that tests/project follows in a module of their own."""


def some(*often: str) -> list[ParameterSet]:
    """Return the pages as parameters, of which all but ``often`` are for `make test-long`."""
    long = pytest.mark.long("the same as on the other pages")
    return [pytest.param(page, marks=[] if page in often else long) for page in PAGES]


def shown_by(*pages: str) -> set[str]:
    """Return the examples that the pages are about."""
    visits = [steps for page in pages for steps in walkthrough.visits(page)]
    return {steps[0].command.removeprefix("cd examples/") for steps in visits}


@pytest.mark.few(1, "does all that a page shows")
@pytest.mark.parametrize(
    "name", sorted({path.name for path in walkthrough.EXAMPLES} - shown_by(*PAGES))
)
def test_filters_are_fresh_of_examples_whose_pages_are_followed_elsewhere(
    name: str, tmp_path: Path
) -> None:
    """The other pages show that building changes nothing."""
    run = seccompgen("build", cwd=walkthrough.copy(name, tmp_path))
    assert (run.code, run.out.splitlines()[-1]) == (0, "everything is up to date")


@pytest.mark.long("does all that a page shows")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_happens(page: str, tmp_path: Path) -> None:
    for visit in walkthrough.follow(page, tmp_path):
        assert visit.differences() == []
        assert "Traceback" not in visit.log


@pytest.mark.parametrize("page", some("subprocess"))
def test_the_same_happens_with_the_systems_python(page: str, tmp_path: Path) -> None:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("there is no /usr/bin/python3")
    for visit in walkthrough.follow(page, tmp_path, walkthrough.with_python("/usr/bin/python3")):
        assert visit.differences() == []


@pytest.mark.parametrize("page", some("subprocess", "threads"))
def test_without_a_filter_nothing_is_refused(page: str, tmp_path: Path) -> None:
    walkthrough.assert_free(walkthrough.follow(page, tmp_path, walkthrough.free))


def run(example: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        cwd=example,
        capture_output=True,
        text=True,
        timeout=walkthrough.TIMEOUT,
        check=False,
    )


@pytest.mark.few(4, "does all that a page shows")
@pytest.mark.parametrize(
    ("example", "command"),
    [
        ("asyncio_server", "server.py --port 0"),
        ("threads", "server.py here --port 0"),
        ("threads", "server.py everywhere --port 0"),
        ("flask_upload", "parse.py"),
        ("process_pool", "pool.py fork"),
        ("process_pool", "pool.py spawn"),
    ],
    indirect=["example"],
)
def test_nothing_is_done_where_no_filter_can_be_installed(example: Path, command: str) -> None:
    walkthrough.broken(example)
    done = run(example, *command.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert "no filters here" in done.stderr


@pytest.mark.parametrize("example", ["launcher"], indirect=True)
def test_the_launcher_exits_as_shells_do(example: Path) -> None:
    codes = [
        run(example, "launch.py", *command).returncode
        for command in (["sh", "-c", "exit 3"], ["no-such-program"], ["/etc/passwd"])
    ]
    assert codes == [3, 127, 126]
    walkthrough.broken(example)
    done = run(example, "launch.py", "touch", "executed")
    assert (done.returncode, (example / "executed").exists()) == (125, False)
    assert done.stderr == "launch.py: not confined: [Errno 38] no filters here\n"
    shutil.rmtree(example / "sandbox")
    assert run(example, "launch.py", "touch", "executed").returncode == 125
    assert not (example / "executed").exists()


INHERITED = """
import os, sys
import convert
os.set_inheritable(os.open("/dev/null", os.O_RDONLY), True)
sys.stdout.buffer.write(convert.run(["sh", "-c", "echo /proc/self/fd/*"], b""))
"""


@pytest.mark.parametrize("example", ["launcher"], indirect=True)
def test_the_launcher_hands_on_the_standard_descriptors_only(example: Path) -> None:
    done = run(example, "-c", INHERITED)
    seen = {name.rpartition("/")[2] for name in done.stdout.split()}
    assert seen - {"3"} == {"0", "1", "2"}, done.stderr  # 3 is the shell's own, looking


PREEXEC = """
import subprocess
from sandbox import tool
try:
    subprocess.run(["true"], preexec_fn=tool.install)
except Exception as error:
    print(error)
"""


@pytest.mark.parametrize("example", ["launcher"], indirect=True)
def test_preexec_fn_loses_the_error(example: Path) -> None:
    """As the page says."""
    walkthrough.broken(example)
    assert run(example, "-c", PREEXEC).stdout == "Exception occurred in preexec_fn.\n"


LOST = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from sandbox import job

SECONDS = float(sys.argv[1])
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    import late
    try:
        with ProcessPoolExecutor(1, mp_context=context, initializer=job.install) as executor:
            print(executor.submit(late.work).result())
    except BrokenProcessPool:
        print("broken")
    with context.Pool(1, initializer=job.install) as pool:
        try:
            print(pool.apply_async(late.work).get(SECONDS))
        except multiprocessing.TimeoutError:
            print("no answer")
"""


@pytest.mark.long("starts many processes")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(str, marks=pytest.mark.long("lost as where the filter kills")),
        walkthrough.killing,
        pytest.param(walkthrough.broken, marks=pytest.mark.long("lost as above")),
    ],
)
@pytest.mark.parametrize("example", ["process_pool"], indirect=True)
def test_of_lost_jobs_an_executor_tells(example: Path, change: Callable[[Path], object]) -> None:
    """The traps that the page warns of: a late import that is refused, one for which the process
    is killed, an initializer that fails. An executor breaks, a Pool never answers.
    """
    change(example)
    (example / "late.py").write_text("def work(): return 1")
    (example / "lost.py").write_text(LOST)
    assert run(example, "lost.py", "1").stdout == "broken\nno answer\n"
    walkthrough.free(example)
    assert run(example, "lost.py", "60").stdout == "1\n1\n"


NOWHERE = """
import asyncio
from sandbox import web

async def main():
    web.install()
    print((await asyncio.start_server(print, "127.0.0.1", 0)).sockets)

asyncio.run(main())
"""


@pytest.mark.parametrize("example", ["asyncio_server"], indirect=True)
def test_asyncio_passes_over_refused_sockets(example: Path) -> None:
    """The trap that the page warns of, up to Python 3.12; later ones raise."""
    outcome = run(example, "-c", NOWHERE)
    if sys.version_info < (3, 13):
        assert outcome.stdout == "()\n"
    else:
        assert "could not bind on any address" in outcome.stderr


def test_code_on_the_pages_is_the_examples() -> None:
    seen = 0
    for page in walkthrough.PAGES.glob("*.md"):
        if page.stem in OF_THEIR_OWN:
            continue
        code = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        if code:
            (name,) = shown_by(page.stem)
            sources = [path.read_text() for path in (ROOT / "examples" / name).glob("*.py")]
            lines = {
                line.split("  # ")[0].strip() for text in sources for line in text.splitlines()
            }
            shown = {line.strip() for text in code for line in text.splitlines()}
            assert shown - lines == set(), page.name
            seen += 1
    assert seen


def test_every_page_is_followed_and_every_example_has_one() -> None:
    """By this module or by tests/ecosystem."""
    ecosystem = (ROOT / "tests" / "ecosystem" / "test_servers.py").read_text()
    pages = {path.stem for path in walkthrough.PAGES.glob("*.md")} - OF_THEIR_OWN
    followed = {*PAGES, *ELSEWHERE}
    assert {page for page in pages if page in followed or f'"{page}"' in ecosystem} == pages
    assert shown_by(*pages) == {example.name for example in walkthrough.EXAMPLES}
    for page in pages:
        assert "everything is up to date\n" in (walkthrough.PAGES / f"{page}.md").read_text()


CRASH = "import ctypes; {}; ctypes.string_at(0)"


def ended_by_a_crash(folder: Path, line: str, *before: str) -> bool:
    """Have a Python say a line and crash; return whether that left a file."""
    folder.mkdir()
    command = [*before, sys.executable, "-I", "-c", CRASH.format(line)]
    ended = subprocess.run(command, cwd=folder, check=False)
    assert ended.returncode == -signal.SIGSEGV
    return any(folder.iterdir())


def test_what_the_page_says_keeps_a_crash_from_making_a_file(tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if not pattern or pattern[0] in "|@" or "/" in pattern or 0 <= hard < 1 << 24:
        pytest.skip("a crash makes no file here")
    page = (walkthrough.PAGES / "README.md").read_text()
    line, limit = re.findall(r"\| `(ctypes.*?|prlimit .*?)(?: COMMAND)?` \|", page)
    raised = ["prlimit", f"--core={hard if hard >= 0 else 'unlimited'}"]
    assert ended_by_a_crash(tmp_path / "free", "0", *raised)
    assert not ended_by_a_crash(tmp_path / "line", line, *raised)
    assert not ended_by_a_crash(tmp_path / "limit", "0", *raised, *limit.split())
