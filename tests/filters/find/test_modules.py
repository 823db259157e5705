"""Filters changed in every way: what `verify` accepts behaves as what was generated.

What a filter does is seen by running it beside a runtime that only takes down what it is asked. It
shares nothing with the reader of modules, which never runs one. SECCOMPGEN_TRIES=all tries every
change; without it, `make test` tries each 29th and `make test-long` each seventh.
"""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING

import pytest
from changed_modules import accepted, behaviour, contents, mutants, texts
from command import inside
from longer import long_but

if TYPE_CHECKING:
    from pathlib import Path

STRIDES = (1, 1) if os.environ.get("SECCOMPGEN_TRIES") == "all" else (29, 7)


@pytest.mark.few(1, "makes and proves filters of many forms")
@pytest.mark.parametrize(
    "stride", long_but(STRIDES[:1], STRIDES, "each seventh change and not each 29th", long=0)
)
@pytest.mark.parametrize("file", ["__init__.py", "_arm.py"])
def test_what_is_accepted_behaves_as_what_was_generated(
    generated: Path, file: str, stride: int
) -> None:
    files = contents(generated)
    right = behaviour(files)
    source = files[file].decode()
    tried = same = 0
    changes = [(name, text.encode()) for name, text in mutants(source, stride) if text]
    changes += texts(source).items()
    changed = generated.with_name("changed")
    for name, content in changes:
        # The banner is kept, so that it is not what verify objects to.
        banner = (
            b""
            if content[:1] in {b"#", b"\xff", b"\xef"}
            else source[: source.index('"""')].encode()
        )
        (changed / file).write_bytes(banner + content)
        if not accepted(changed):
            tried += 1
            continue
        same += 1
        assert behaviour(contents(changed)) == right, name
    (changed / file).write_bytes(files[file])
    print(f"{tried} refused, {same} accepted, which behave alike")
    assert tried > (1000 if file == "__init__.py" else 200) // stride
    assert same  # swapping the last of a list with itself, for one, changes nothing


@pytest.mark.few(1, "makes and proves filters of many forms")
def test_what_changes_nothing_is_accepted(generated: Path) -> None:
    """A formatter's layout, comments and line ends are nobody's business."""
    changed = generated.with_name("changed")
    for file, content in contents(generated).items():
        source = content.decode()
        banner = source[: source.index('"""')]
        *shown, code = source.split('"""', 2)
        for text in (
            source,
            source.replace("\n", "\r\n"),
            banner + ast.unparse(ast.parse(source)) + "\n",
            source + "# a remark\n\n\n",
            '"""'.join((*shown, code.replace("    ", "  "))),
        ):
            (changed / file).write_bytes(text.encode())
            assert accepted(changed)
        (changed / file).write_bytes(content)


def test_weaker_before_it_is_called(generated: Path) -> None:
    """The second definition is ours, but comes after the call: seen in the wild."""
    files = contents(generated)
    source = files["__init__.py"].decode()
    start = source.index("def install()")
    whole = source[start:].partition("\n\n\n")[0]
    weak = whole.replace("no_new_privs=True", "no_new_privs=False")
    assert weak != whole
    text = f"{source[:start]}{weak}\n\n\ninstall()\n\n\n{whole}\n"
    changed = generated.with_name("changed")
    (changed / "__init__.py").write_text(text)
    assert not accepted(changed)
    assert behaviour({**files, "__init__.py": text.encode()}) != behaviour(files)
    (changed / "__init__.py").write_bytes(files["__init__.py"])


@pytest.mark.few(3, "makes and proves filters of many forms")
@pytest.mark.parametrize("lie", ["every other system call", "allow", "sets no_new_privs"])
def test_a_docstring_that_lies(generated: Path, lie: str) -> None:
    source = (generated / "__init__.py").read_text()
    target = generated.with_name("changed") / "__init__.py"
    target.write_text(source.replace(lie, "nothing"))
    run = inside("verify", "changed", cwd=generated.parent)
    target.write_text(source)
    text = "its docstring is not what seccompgen says of this policy; generate it again"
    assert (run.code, run.err) == (1, f"changed: {text}\n")
