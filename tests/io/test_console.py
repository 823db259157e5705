"""Text that others chose, shown: one place prints, and nothing that it prints is obeyed."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import subprocess
import threading
from contextlib import redirect_stdout
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import running_kernel as kernel
from command import ROOT, Result, inside, seccompgen
from hypothesis import given, settings
from hypothesis import strategies as st
from seccompgen.core.errors import Diagnostic, Position
from seccompgen.core.styled import Style, Styled
from seccompgen.io.console import Colours, error_text, print_json, say, use_colours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NO_BUNDLES = {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}
PACKAGE = ROOT / "generator" / "seccompgen"
CONSOLE = PACKAGE / "io/console.py"
HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e\u2066\u200b\ufeff\u2028"
"""A title, a clear screen, a return, a C1 control, and what turns or hides text."""
OBEYED = re.compile(r"[^\n\t\x20-\x7e\xa1-\xac\xae-\u200a\u2030-\u205f\u2070-\ud7ff\uf900-\ufdff]")


def assert_shown(run: Result) -> None:
    """Assert that a command said something, and nothing that a terminal obeys."""
    text = run.out + run.err
    assert text
    found = OBEYED.search(text)
    assert not found, (found, text)


# --- nothing goes round it -----------------------------------------------------------------------

PRINTS = {"print", "pprint", "echo", "secho", "style", "echo_via_pager", "confirm", "prompt"}
PRINTS |= {"print_exc", "print_exception", "warn", "pause", "showwarning", "breakpoint"}
STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}
# The one place; and what only asks a stream, or empties it: both print nothing.
ALLOWED = {"flush", "isatty", "fileno", "reconfigure"}
NAMED = re.compile("|".join([*PRINTS, *STREAMS, "logging", "pprint", r"os\.write"]))


def prints_in(source: str) -> Iterator[str]:
    """Yield what prints in a module, or hands out a stream that could be printed to."""
    if not NAMED.search(source):
        return
    tree = ast.parse(source)
    asked = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ALLOWED
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in PRINTS:
                yield name
            case ast.Attribute(value=ast.Name(id="sys"), attr=name) if name in STREAMS:
                if id(node) not in asked:
                    yield f"sys.{name}"
            case ast.ImportFrom(module="sys", names=names):
                yield from (f"sys.{one.name}" for one in names if one.name in STREAMS)
            case ast.Import(names=names):
                yield from (one.name for one in names if one.name in {"logging", "pprint"})
            case ast.ImportFrom(module="logging" | "pprint" as name):
                yield name
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="os"), attr="write"),
                args=[ast.Constant(value=1 | 2), *_],
            ):
                yield "os.write"


# Where a module needs one of these, and why that prints nothing that others chose.
REASONS = {
    "cli/run.py": {"sys.stderr"},  # handed to console.write_lines
}


@pytest.mark.long("runs commands against what fails, one by one")
def test_nothing_prints_but_the_console() -> None:
    found = {
        str(path.relative_to(PACKAGE)): {*prints_in(path.read_text())}
        for path in PACKAGE.rglob("*.py")
        if path != CONSOLE
    }
    assert {name: prints for name, prints in found.items() if prints} == REASONS


@pytest.mark.parametrize("way", [
    "print(x)", "click.echo(x)", "click.secho(x)", "sys.stderr.write(x)", "import logging",
    "from sys import stdout", "os.write(2, x)", "warnings.warn(x)", "file = sys.stdout",
    "traceback.print_exc()", "rich.print(x)", "sys.__stderr__.write(x)",
])  # fmt: skip
def test_a_way_round_is_seen(way: str) -> None:
    assert list(prints_in(way))


# --- the place itself ----------------------------------------------------------------------------

TEXT = st.text(
    st.one_of(st.characters(), st.sampled_from(HOSTILE), st.characters(categories=["Cs"]))
)


def printed(act: Callable[[], None]) -> str:
    """Return what is printed, through the encoding of a terminal."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")  # strict: a lone surrogate would raise
    with redirect_stdout(stream):
        act()
    stream.flush()
    return raw.getvalue().decode()


@given(TEXT, st.sampled_from(Style))
def test_colours_are_all_that_a_terminal_obeys(text: str, style: Style) -> None:
    line = Styled("a", (text, style), "b")
    assert line == f"a{text}b"
    use_colours(Colours.ALWAYS)
    try:
        shown = printed(lambda: say(line))
    finally:
        use_colours(Colours.AUTO)
    plain = printed(lambda: say(line))
    on, off = f"\x1b[{style.value}m", "\x1b[0m"
    assert shown == (f"a{on}{plain[1:-2]}{off}b\n" if text else plain)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(TEXT, min_size=1, max_size=3))
def test_a_line_stays_a_line_and_shows(lines: list[str]) -> None:
    text = printed(lambda: say(*lines))
    assert text.count("\n") == len(lines)
    assert all(line.isprintable() for line in text.split("\n"))
    plain = [line for line in lines if line.isprintable()]
    assert all(f"{line}\n" in text for line in plain)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.dictionaries(TEXT, st.lists(TEXT, max_size=2), max_size=2))
def test_json_shows_and_is_the_same_value(value: dict[str, list[str]]) -> None:
    text = printed(lambda: print_json(value))
    assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(text) == json.loads(json.dumps(value))


def test_other_programs_are_told_in_lines() -> None:
    text = error_text([Diagnostic("a\x1b\nb", Position("x\ny\x9b", 1)), Diagnostic("c")])
    assert text == "x\\ny\\x9b:1: a\\x1b b\nc"


# --- what others choose --------------------------------------------------------------------------

POLICY = "arches: [x86_64]\ndefault_action: errno\nsyscalls: [{action: allow, names: [read]}]\n"
QUOTED = json.dumps(HOSTILE)

TEXTS = {
    "a key.yml": f"{QUOTED}: 1\n{POLICY}",
    "a key twice.yml": f"{QUOTED}: 1\n{QUOTED}: 2\n",
    "a value.yml": f"{POLICY}unknown_action: {QUOTED}\n",
    "a name.yml": POLICY.replace("read", QUOTED),
    "an arch.yml": POLICY.replace("x86_64", QUOTED),
    "an include.yml": f"{POLICY}include: [{QUOTED}]\n",
    "a tag.yml": f"a: !<tag:{HOSTILE}> x\n",
    "a handle.yml": f"%TAG !{HOSTILE}! x\n--- !{HOSTILE}!x 1\n",
    "an encoded tag.yml": "a: !<tag:%1b%9b%e2%80%ae> x\nb: !x%1b[31m y\n",
    "an anchor.yml": f"a: &{HOSTILE} 1\n",
    "an alias.yml": "a: *\u202ex\n",
    "a flag.json": json.dumps({"flags": [HOSTILE], "default_action": HOSTILE}),
    "a key.toml": f'default_action = "errno"\n{QUOTED} = 1\n',
    "a table.toml": f"[{QUOTED}]\nx = 1\n[{QUOTED}]\n",
    "a value.toml": f"default_action = {QUOTED}\n",
    "an escape.toml": 'default_action = "\\u001b[31m \\u009b \\u202e"\n',
    "surrogates.json": '{"\\ud83d": "\\udc80", "default_action": "\\udcff"}',
    "a key.py": f"{HOSTILE} = 1\n",
    "a warning.py": f'"\\{HOSTILE}"\n',
    "a count": f"read: {HOSTILE}\n",
    "a call": f"{HOSTILE}: 1\n",
}


@pytest.mark.few(19, "runs commands against what fails, one by one")
@pytest.mark.parametrize("name", TEXTS)
def test_what_a_file_says(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TEXTS[name], newline="")
    (tmp_path / "good.yml").write_text(POLICY)
    words = ["disasm", name] if "." in name else ["build", "good.yml", "--profile", name, "-o", "o"]
    run = inside(*words, cwd=tmp_path)
    assert run.code == 2
    assert_shown(run)


def test_an_anchor_twice_is_no_warning(tmp_path: Path) -> None:
    """The library warns of it on stderr, with the anchor as it is."""
    policy = POLICY.replace("allow", "&x allow").replace("[read", "[&x read")
    (tmp_path / "p.yml").write_text(policy)
    run = seccompgen("disasm", "p.yml", cwd=tmp_path)
    assert (run.code, run.err) == (0, "")


NAMES = [HOSTILE[:30] + end for end in (".yml", ".py", ".bpf", ".toml", "", "/x.yml")]
NAMES += [os.fsdecode(b"\xff\x9b\xc2\x9b.yml"), "line\nfeed.yml"]


SOME = {NAMES[0], NAMES[1], NAMES[4], NAMES[6]}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in SOME else pytest.mark.long("more names"))
        for name in NAMES
    ],
)
def test_names_of_files_and_words(tmp_path: Path, name: str) -> None:
    (tmp_path / "good.yml").write_text(POLICY)
    (tmp_path / "hostile.yml").write_text(POLICY)
    for words in (
        ["disasm", name, "--arch", "x86_64"],
        ["verify", name, "--policy", name, "--arch", "x86_64"],
        ["build", "good.yml", "-o", name],
        ["build", "good.yml", "--tables", name],
        ["build", "good.yml", "--arch", name],
        ["build", "good.yml", f"--{name}"],
        ["build", "good.yml", "--format", name],
        ["vendor", name, "package"],
        ["vendor", "good.yml", name],
        ["intersect", name, "good.yml", "--name", name],
        ["syscalls", name],
        ["tables", "--tag", name, "-o", "t"],
        ["tables", "--tag", "v6.1", "--from", name, "-o", "t"],
        ["scan", name],
        ["record", "-o", name, "--", "true"],
        ["run", "good.yml", "--", f"./{name}"],
        [name],
    ):
        if words[0] not in {"record", "run"}:
            assert_shown(inside(*words, cwd=tmp_path))
        else:
            assert_shown(seccompgen(*words, cwd=tmp_path))


def test_a_program_that_cannot_be_executed(tmp_path: Path) -> None:
    kernel.require_x86_64()
    (tmp_path / "p.yml").write_text(
        "default_action: allow\nsyscalls: [{action: errno, names: [bpf]}]\n"
    )
    program = tmp_path / f"{HOSTILE}p"
    program.write_text("#!/nowhere\n")
    program.chmod(0o755)
    for words in (["run"], ["run", "--trace"], ["record", "-o", "r.yml"]):
        of = ["p.yml"] if "run" in words else []
        run = seccompgen(*words, *of, "--", f"./{HOSTILE}p", cwd=tmp_path)
        assert (run.code, "p: cannot be executed: No such file" in run.err) == (127, True)
        assert_shown(run)


@pytest.mark.parametrize("content", [
    f'[tool.seccompgen]\n"{HOSTILE[:4]}" = 1\n'.replace("\x1b", "\\u001b").replace("\x07", ""),
    '[tool.seccompgen]\npolicies = "\\u001b[31m"\noutput = "\\u009bo"\n',
    '[tool.seccompgen]\noptimize = "\\u001b[31m\\u202e"\n',
    f"[tool.seccompgen]\nx = \x1b[31m{HOSTILE}\n",
    f"# {HOSTILE}\n[tool.seccompgen]\npolicies = 1\n",
])  # fmt: skip
def test_what_a_project_says(tmp_path: Path, content: str) -> None:
    (tmp_path / "pyproject.toml").write_text(content, newline="")
    for words in (["build"], ["verify"], ["init"]):
        run = inside(*words, cwd=tmp_path)
        assert run.code in {0, 2}
        assert_shown(run)


@pytest.mark.long("runs commands against what fails, one by one")
def test_what_a_manifest_says(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text(POLICY)
    assert inside("vendor", "p.yml", "app", "--no-cache", cwd=tmp_path).code == 0
    manifest = tmp_path / "app" / "seccomp-manifest.json"
    whole = json.loads(manifest.read_text())
    for change in (
        {HOSTILE: 1},
        {"files": {**whole["files"], HOSTILE: "0"}},
        {"filters": [{**whole["filters"][0], "policy": HOSTILE}]},
        {"filters": [{**whole["filters"][0], "file": HOSTILE}]},
        {"arches": [HOSTILE]},
        {"profile": {"name": HOSTILE, "sha256": "0" * 64}},
        {"files": {**whole["files"], f"{HOSTILE}.py": "0" * 64}},
    ):
        text = json.dumps(whole | change, indent=2, ensure_ascii=False)
        manifest.write_text(f"{text}\n", newline="")
        for words in (["vendor", "--check", "app"], ["vendor", "app"]):
            assert_shown(inside(*words, "--json", cwd=tmp_path))
            assert_shown(inside(*words, cwd=tmp_path))


@pytest.mark.parametrize("variable", ["SECCOMPGEN_TIMEOUT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_what_the_environment_says(tmp_path: Path, variable: str) -> None:
    words = ("tables", "--tag", "v6.1", "--from", "http://127.0.0.1:1/{path}", "-o", "t")
    run = seccompgen(*words, cwd=tmp_path, env={**NO_BUNDLES, variable: HOSTILE})
    assert run.code == 2
    assert_shown(run)


class _Hostile(BaseHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        wild = HOSTILE.replace("\r", "").encode()
        if "redirect" in self.path:
            answer = b"302 Found\r\nLocation: http://" + wild + b"/x\r\n"
        elif "nonsense" in self.path:
            answer = b"302 Found\r\nLocation: https://[" + wild + b"]:" + wild + b"/x\r\n"
        elif "header" in self.path:
            answer = b"200 OK\r\nContent-Encoding: " + wild + b"\r\n" + wild + b"\r\n"
        else:
            answer = b"403 " + wild + b"\r\n"
        self.wfile.write(b"HTTP/1.1 " + answer + b"Content-Length: 0\r\n\r\n")


@pytest.mark.long("runs commands against what fails, one by one")
def test_what_a_server_says(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), _Hostile) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        for kind in ("reason", "redirect", "nonsense", "header"):
            url = f"http://127.0.0.1:{server.server_address[1]}/{kind}/{{path}}"
            words = ("tables", "--tag", "v6.1", "--from", url, "-o", "t")
            run = seccompgen(*words, cwd=tmp_path, env={"SECCOMPGEN_TIMEOUT": "20"})
            assert run.code == 3
            assert_shown(run)
        server.shutdown()


@pytest.mark.long("runs commands against what fails, one by one")
def test_what_a_process_calls_itself(tmp_path: Path) -> None:
    kernel.require_x86_64()
    (tmp_path / "p.yml").write_text(
        "default_action: allow\nsyscalls: [{action: errno, names: [getppid, openat2]}]\n"
    )
    (tmp_path / "named.py").write_text(
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.prctl(15, b'\\x1b[2J\\r\\xc2\\x9b\\xff', 0, 0, 0)\n"
        "libc.syscall(437, -100, b'\\x1b]0;x\\x07\\xe2\\x80\\xae\\n', b'', 24)\n"
        "os.getppid()\n"
    )
    program = tmp_path / "\x1b[31mprogram"
    shutil.copy(shutil.which("true") or "/bin/true", program)
    for words in (
        ["run", "--trace", "p.yml", "--", "python3", "named.py"],
        ["run", "--trace", "--json", "p.yml", "--", "python3", "named.py"],
        ["run", "--trace", "-o", "out", "p.yml", "--", "python3", "named.py"],
        ["record", "--against", "p.yml", "--", "python3", "named.py"],
        ["record", "-o", "r.yml", "--", str(program)],
    ):
        run = seccompgen(*words, cwd=tmp_path)
        out = (tmp_path / "out").read_text() if "-o" in words and "out" in words else ""
        assert_shown(Result(run.code, out + run.out, run.err))
        if "p.yml" in words:
            assert "getppid" in out + run.out + run.err


def test_what_a_program_calls_its_functions(tmp_path: Path) -> None:
    pytest.importorskip("elftools")
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc here")
    name = "\x1b[31m\x9b\u202e"
    (tmp_path / "p.s").write_text(
        f'.globl _start\n_start: call "{name}"\nmov $60, %eax\nsyscall\n'
        f'"{name}": mov %edi, %eax\nsyscall\nret\n.type "{name}", @function\n'
    )
    kernel.require_x86_64()
    subprocess.run([compiler, "-nostdlib", "-static", "-o", "p", "p.s"], cwd=tmp_path, check=True)
    (tmp_path / "p").rename(tmp_path / f"{name}p")
    for words in (["scan", f"{name}p", "--sites"], ["scan", f"{name}p", "-o", "x.yml"]):
        run = inside(*words, cwd=tmp_path)
        assert "\\x1b" in run.out + run.err
        assert_shown(run)
