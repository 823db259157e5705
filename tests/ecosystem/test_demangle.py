"""All names of a C++ library and of Rust programs, as c++filt has them without what is generic."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from seccompgen.run.demangle import readable
from servers import program

pytestmark = pytest.mark.ecosystem

RUST = """
use std::collections::HashMap;
trait Ask { fn ask(&self) -> usize; }
struct Asker<T>(T);
impl<T: AsRef<[u8]>> Ask for Asker<T> { fn ask(&self) -> usize { self.0.as_ref().len() } }
impl Asker<u8> { fn own(&self) -> usize { [1, 2].iter().map(|one| one + self.0 as usize).sum() } }
mod größe { pub fn of<F: Fn(usize) -> usize, const N: usize>(f: F) -> usize { f(N) } }
fn main() {
    let mut all: HashMap<String, Box<dyn Ask>> = HashMap::new();
    all.insert("x".into(), Box::new(Asker("s")));
    println!("{}", all["x"].ask() + Asker(1u8).own() + größe::of::<_, 7>(|x| x + 1));
}
"""
OPERATOR = re.compile(r"operator(<=>|<<=|>>=|->\*|->|<<|>>|<=|>=|<|>|\(\))")


def functions(file: Path, *options: str) -> list[str]:
    """Return the mangled names of a file's functions."""
    words = [program("nm"), *options, str(file)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {line.split()[-1].partition("@")[0] for line in lines if line.split()[-2] in "tTwWi"}
    return sorted(name for name in found if name.startswith(("_Z", "_R")))


def as_cplusplus_filt(names: list[str], *options: str) -> list[str]:
    words = [program("c++filt"), *options]
    text = "\n".join(names)
    return subprocess.run(
        words, input=text, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def plain(text: str) -> str:
    """Return a name without what is in angle brackets behind a word, parentheses, and tags."""
    text = re.sub(r"\[abi:\w+\]|\[[0-9a-f]{5,16}\]| \[clone .*\]| const(?=::|$)", "", text)
    text = text.replace("(anonymous namespace)", "{anonymous namespace}").replace("{lambda(", "{(")
    kept, depth, at = "", 0, 0
    while at < len(text):
        found = None if depth else OPERATOR.match(text, at)
        if found and not (at and (text[at - 1].isalnum() or text[at - 1] == "_")):
            kept, at = kept + found[0], found.end()
            continue
        letter = text[at]
        behind = depth or re.search(r"(\w|[})\]:]|operator\W+) ?$", kept)
        opens = letter == "(" or (letter == "<" and behind)
        if opens:
            depth += 1
        elif depth and (letter == ")" or (letter == ">" and text[at - 1] != "-")):
            depth -= 1
        elif not depth:
            kept += letter
        at += 1
    kept = kept.replace("{#", "{lambda#").replace("{anonymous namespace}", "(anonymous namespace)")
    return kept.replace("::::", "::").rstrip(": ")


def test_every_function_of_a_library_has_the_path_that_binutils_have() -> None:
    (library,) = Path("/usr/lib").glob("*-linux-gnu/libstdc++.so.6")
    # LLVM does not read the clones of transactional memory, and calls std::string what others
    # call std::basic_string.
    names = [name for name in functions(library, "-D") if not name.startswith("_ZGT")]
    assert len(names) > 4000
    text = "\n".join(map(plain, as_cplusplus_filt(names, "--no-params")))
    theirs = re.sub(r"basic_(string|[io]+stream)(?=::)", r"\1", text).splitlines()
    ours = [re.sub(r"basic_(string|[io]+stream)(?=::)", r"\1", one) for one in map(readable, names)]
    compared = zip(names, ours, theirs, strict=True)
    assert [one for one in compared if one[1] != one[2]] == []


@pytest.mark.parametrize("version", ["legacy", "v0"])
def test_every_function_of_a_rust_program_has_the_path_that_binutils_have(
    version: str, tmp_path: Path
) -> None:
    source, made = tmp_path / "program.rs", tmp_path / "program"
    # binutils know of no letters beyond ASCII in legacy names.
    source.write_text(RUST if version == "v0" else RUST.replace("größe", "size"))
    mangling = ["-C", "symbol-mangling-version=v0"] if version == "v0" else []
    words = [program("rustc"), "--cap-lints", "allow", *mangling, "-o", str(made), str(source)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = [name for name in functions(made) if ".llvm." not in name]
    legacy = [name for name in names if name.startswith("_ZN")]
    v0 = [name for name in names if name.startswith("_R")]
    assert len(v0 if version == "v0" else legacy) > 20
    theirs = as_cplusplus_filt(legacy, "--format=rust")
    assert [*map(readable, legacy)] == [re.sub("::h[0-9a-f]{16}$", "", name) for name in theirs]
    compared = zip(v0, map(readable, v0), map(plain, as_cplusplus_filt(v0)), strict=True)
    assert [one for one in compared if plain(one[1]) != one[2]] == []
