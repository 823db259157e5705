"""Headers, modules and packages for C, Rust and Go: their bytes, what is refused, what is stale."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from command import RENEW, inside, said_but_warnings, seccompgen, snapshot
from extremes import BARE, LISTENING
from pages import follow
from seccompgen.core.abis import ABIS
from seccompgen.languages import language
from seccompgen.languages.c import TARGETS as C_TARGETS
from seccompgen.languages.js import TARGETS as JS_TARGETS
from seccompgen.languages.rust import TARGETS as RUST_TARGETS

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = ["c", "rust", "go"]
MODULES = {"c": "demo.h", "rust": "demo.rs", "go": "demo/install_linux.go"}
EVERYWHERE = """
default_action: allow
unknown_action: errno(ENOSYS)
syscalls:
- {action: errno(EROFS), names: [mkdirat]}
- action: kill_process
  names_with_args:
  - {name: personality, arguments: [{argument: 0, operation: Equal, value: 0x123456789, width: 64}]}
"""
SMALL = f"arches: [x86_64, aarch64]\n{EVERYWHERE}"


def build(policy: str, where: Path, *options: str, name: str = "demo") -> list[str]:
    """Build ``policy`` into ``where``/out; return what was said on stderr."""
    (where / f"{name}.yml").write_text(policy)
    run = inside("build", f"{name}.yml", *options, "-o", "out", cwd=where)
    return [f"{run.code}", *run.err.splitlines()] if run.code else []


@pytest.mark.long("compiles many modules")
@pytest.mark.parametrize("form", FORMATS)
def test_every_program_is_the_one_of_the_raw_file(form: str, tmp_path: Path) -> None:
    """And stands under the condition that is its ABI's alone."""
    assert not build(EVERYWHERE, tmp_path, "--format", form)
    assert not build(EVERYWHERE, tmp_path, "--format", "bpf")
    raw = {p.name.split(".")[1]: p.read_bytes() for p in (tmp_path / "out").glob("*.bpf")}
    assert len(raw) == 27
    targets = language(form).targets or {}
    wanted = {targets[name]: data for name, data in raw.items() if name in targets}
    found = {}
    order = {text: "<>"[ABIS[name].byte_order == "big"] for name, text in targets.items()}
    for condition, text in sections(form, tmp_path / "out"):
        quads = re.findall(
            r"[{(](?:Code: )?(0x..), (?:Jt: )?(0x..), (?:Jf: )?(0x..), (?:K: )?(0x.{8})[)}],", text
        )
        numbers = [[int(number, 16) for number in quad] for quad in quads]
        assert condition not in found
        found[condition] = b"".join(struct.pack(order[condition] + "HBBI", *n) for n in numbers)
    assert found == wanted


def sections(form: str, out: Path) -> list[tuple[str, str]]:
    """Return each condition with the text that it holds for."""
    if form == "go":
        files = out.glob("demo/program_linux_*.go")
        return [(path.stem.rpartition("_")[2], path.read_text()) for path in files]
    text = (out / MODULES[form]).read_text()
    if form == "c":
        parts = re.split(r"^#(?:el)?if (defined.*)\n(?=/\* Answers)", text, flags=re.MULTILINE)
    else:
        parts = re.split(r"^#\[cfg\((all.*)\)\]\npub\(super\) mod abi", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def test_every_abi_with_filters_has_a_target_in_c_and_no_two_are_alike() -> None:
    assert C_TARGETS.keys() == {name for name, abi in ABIS.items() if abi.filters_since}
    for form in FORMATS:
        targets = language(form).targets or {}
        assert len({*targets.values()}) == len(targets) >= 13
    for name, target in RUST_TARGETS.items():
        rest = f'pointer_width = "{ABIS[name].bits}", target_endian = "{ABIS[name].byte_order}")'
        assert target.endswith(rest)


# --- C, with the compiler that `make test` needs anyway -------------------------------------------

STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_strict_c_takes_a_header_whatever_its_policy_is_called(tmp_path: Path) -> None:
    nasty = 'description: "a \\\\\\n*/ b ??/\\nint c; \\u202e /* \\\\"\n' + SMALL
    assert not build(nasty, tmp_path, "--format", "c", name="a-b.c")
    (tmp_path / "main.c").write_text(
        '#include "a_b_c.h"\nint main(void) { return a_b_c_install(); }\n'
    )
    for standard in ("c89", "c17"):
        command = [
            "gcc",
            f"-std={standard}",
            *STRICT,
            "-pedantic-errors",
            "-Iout",
            "-fsyntax-only",
            "main.c",
        ]
        subprocess.run(command, cwd=tmp_path, check=True)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize("policy", [BARE, LISTENING])
def test_strict_c_takes_a_header_with_little_in_it(policy: str, tmp_path: Path) -> None:
    assert not build(policy, tmp_path, "--format", "c")
    (tmp_path / "main.c").write_text(
        '#include "demo.h"\nint main(void) { return demo_install(); }\n'
    )
    for standard in ("c89", "c99"):
        command = ["gcc", f"-std={standard}", *STRICT, "-Iout", "-fsyntax-only", "main.c"]
        subprocess.run(command, cwd=tmp_path, check=True)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_an_abi_without_a_program_is_an_error(tmp_path: Path) -> None:
    assert not build(EVERYWHERE, tmp_path, "--format", "c", "--arch", "s390x")
    command = ["gcc", "-fsyntax-only", "-x", "c", "out/demo.h"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "no program fits the ABI that this is compiled for" in run.stderr


@pytest.mark.long("renders and compiles many modules")
@pytest.mark.skipif(not shutil.which("cc"), reason="needs cc")
def test_the_page_does_what_it_shows(tmp_path: Path) -> None:
    assert follow("c.md", tmp_path) == 2


# --- what is said ------------------------------------------------------------------------------


@pytest.mark.few(2, "renders and compiles many modules")
@pytest.mark.parametrize("form", FORMATS)
def test_the_banner_repeats_itself(form: str, tmp_path: Path) -> None:
    options = ["--format", form, "--arch", "x86_64", "--arch", "i386", "--optimize", "size"]
    assert not build(EVERYWHERE, tmp_path, *options)
    first = snapshot(tmp_path / "out")
    (redo,) = re.findall(
        r"^(?://| \*)   redo    seccompgen (.*) -o DIR$", first[MODULES[form]].decode(), re.M
    )
    assert inside(*redo.split(), "-o", "again", cwd=tmp_path).code == 0
    assert snapshot(tmp_path / "again") == first


@pytest.mark.few(1, "renders and compiles many modules")
@pytest.mark.parametrize("form", FORMATS)
def test_check_tells_what_is_missing_stale_and_left_over(form: str, tmp_path: Path) -> None:
    check = ("build", "demo.yml", "--format", form, "-o", "out", "--check")
    assert not build(SMALL, tmp_path, "--format", form)
    assert inside(*check, cwd=tmp_path).code == 0
    module = tmp_path / "out" / MODULES[form]
    before = module.read_bytes()
    module.write_bytes(before.replace(b"0x7fff0000", b"0x7ffc0000") + b"\n")
    text = "it was edited, or this seccompgen makes it otherwise; its programs stay the same"
    stale = f"out/{MODULES[form]}: is stale: {text}"
    assert said_but_warnings(inside(*check, cwd=tmp_path)) == (1, [], [stale, RENEW])
    module.unlink()
    assert said_but_warnings(inside(*check, cwd=tmp_path)) == (
        1,
        [],
        [f"out/{MODULES[form]}: is missing", RENEW],
    )
    module.write_text("int mine;\n")
    refused = f"out/{MODULES[form]}: is not seccompgen's to overwrite: rename it, or choose another"
    run = inside(*check[:-1], cwd=tmp_path)
    assert (run.code, run.err) == (2, f"{refused} directory with -o\n")
    assert module.read_text() == "int mine;\n"


@pytest.mark.long("renders and compiles many modules")
def test_a_go_program_that_its_policy_no_longer_has_goes(tmp_path: Path) -> None:
    assert not build(f"arches: [x86_64, s390x]\n{EVERYWHERE}", tmp_path, "--format", "go")
    mine = tmp_path / "out" / "demo" / "mine.go"
    mine.write_text("package demo\n")
    less = ("build", "demo.yml", "--format", "go", "--arch", "x86_64", "-o", "out")
    run = inside(*less, "--check", cwd=tmp_path)
    assert "out/demo/program_linux_s390x.go: is no longer generated" in run.err
    assert inside(*less, cwd=tmp_path).code == 0
    assert {path.name for path in mine.parent.iterdir()} == {
        *("install_linux.go", "mine.go", "program_linux_amd64.go", "unsupported_linux.go")
    }


@pytest.mark.parametrize(
    ("form", "name", "what"),
    [
        *[(form, "ä", what) for form, what in
          (("c", "a C header"), ("rust", "a Rust module"), ("go", "a Go package"))],
        *(("rust", "match", "a Rust module"), ("go", "main", "a Go package")),
        *(("rust", "Self", "a Rust module"), ("go", "documentation", "a Go package")),
        ("go", "init", "a Go package"),
    ],
)  # fmt: skip
def test_names_that_a_language_refuses(form: str, name: str, what: str, tmp_path: Path) -> None:
    policy = EVERYWHERE + "install_on_import: true\n"
    assert build(policy, tmp_path, "--format", form, "--arch", "x86_64", name=name) == [
        "2",
        f"{name}.yml: {name!r} cannot name {what}; rename the file",
        f"{name}.yml: install_on_import is for Python modules: {what} is not run when it is "
        "included; take it out, and call install",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.few(5, "renders and compiles many modules")
@pytest.mark.parametrize("form", ["python", "bpf", "c", "rust", "go", "oci"])
def test_names_that_windows_reserves(form: str, tmp_path: Path) -> None:
    """Git cannot check such a file or directory out there, and Go imports it nowhere."""
    names = ["NUL"]
    if form == "python":  # the others ask the same place
        names += ["con", "aux.worker", "com1", "lpt\N{SUPERSCRIPT THREE}"]
    for name in names:
        told = build(SMALL, tmp_path, "--format", form, "--arch", "x86_64", name=name)
        text = f"{name}.yml: {name!r} is a device on Windows, where no file can have that name"
        assert told == ["2", f"{text}; rename the policy"]
    assert not (tmp_path / "out").exists()
    if form == "python":
        assert not build(SMALL, tmp_path, "--arch", "x86_64", name="console")


@pytest.mark.parametrize(("form", "language"), [("rust", "Rust"), ("go", "Go")])
def test_abis_that_a_language_lacks(form: str, language: str, tmp_path: Path) -> None:
    policy = f"arches: [alpha, sh]\n{EVERYWHERE}"
    assert build(policy, tmp_path, "--format", form) == [
        "2",
        f"demo.yml:1:9: {language} has no Linux target for alpha, sh; name another ABI in arches",
    ]


@pytest.mark.long("renders and compiles many modules")
def test_a_listener_is_returned(tmp_path: Path) -> None:
    policy = """
default_action: allow
flags: [new_listener]
syscalls:
- {action: user_notif, names: [mkdirat]}
"""
    signatures = {
        "c": "result >= 0)\n        return (int)result;",
        "rust": "pub fn install() -> std::io::Result<std::os::fd::OwnedFd> {",
        "go": "func Install() (listener int, err error) {",
    }
    for form in FORMATS:
        assert not build(policy, tmp_path, "--format", form)
        text = (tmp_path / "out" / MODULES[form]).read_text()
        assert signatures[form] in text
        flags = {
            "c": "(1, 8, &fprog)",
            "rust": "FLAGS: c_ulong = 8;",
            "go": "flags          = 25\n",
        }
        assert flags[form] in text


def test_a_project_has_python_modules_only(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.seccompgen]\npolicies = "p"\noutput = "o"\n')
    run = seccompgen("build", "--format", "c", cwd=tmp_path)
    assert run.code == 2
    assert "--format" in run.err


@pytest.mark.long("compiles many modules")
def test_javascript_has_the_bytes_of_the_raw_files(tmp_path: Path) -> None:
    assert not build(EVERYWHERE, tmp_path, "--format", "js")
    assert not build(EVERYWHERE, tmp_path, "--format", "bpf")
    out = tmp_path / "out"
    sections = re.split(r'^  \["(\w+)", \[$', (out / "demo/index.js").read_text(), flags=re.M)[1:]
    found = {
        arch: bytes.fromhex("".join(re.findall(r"0x(..),(?= 0x| //)", text)))
        for arch, text in zip(sections[::2], sections[1::2], strict=True)
    }
    assert found == {
        arch: (out / f"demo.{name}.bpf").read_bytes() for name, arch in JS_TARGETS.items()
    }


def test_a_launcher_refuses_what_would_start_nothing(tmp_path: Path) -> None:
    policy = SMALL.replace("errno(EROFS), names: [mkdirat]", "errno(EPERM), names: [execve]")
    problems = build(f"{policy}flags: [new_listener]\n", tmp_path, "--format", "launcher")
    assert problems[1:] == [
        "demo.yml: a launcher becomes the command, so nobody is left to answer the listener: use "
        "seccompgen run, or take out new_listener",
        "demo.yml: refuses execve on x86_64, aarch64, by which a launcher starts the command: "
        "allow it, or use seccompgen run",
    ]
    assert not (tmp_path / "out").exists()
