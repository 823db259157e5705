"""Each format has samples, invalid files, and a section of docs/formats.md, whoever adds it.

Samples lie in tests/data/formats/NAME, invalid files in its folder ``invalid``.
"""

from __future__ import annotations

import itertools
import random
import re
from functools import lru_cache
from pathlib import Path

import pytest
from longer import few_and_many
from proving import TABLES
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import InputError
from seccompgen.core.foreign import Reading
from seccompgen.filters.combine.convert import Converted, convert_all
from seccompgen.formats import FORMATS, READABLE, WRITABLE, filter_names, load_policy, translate
from seccompgen.formats.detect import detect
from seccompgen.formats.writing import write_files, writer
from seccompgen.pipeline.build import build_policy
from seccompgen.verify import meaning
from seccompgen.verify.call import Call

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "formats"
PAGE = (ROOT / "docs" / "formats.md").read_text()
FEWEST_INVALID = 3
STRANGE = ("-1", "99999999999999999999999", '"x"', "null", "[]", "{}", '"', "{")


@lru_cache(maxsize=32)
def samples(name: str) -> list[Path]:
    """Return the files of a format's folder that show the format; others are parts of them."""
    found = [file for file in sorted((DATA / name).iterdir()) if file.is_file()]
    return [file for file in found if detect(file.read_bytes()) == name]


def test_each_format_is_read_or_written() -> None:
    assert {*READABLE, *WRITABLE} == FORMATS.keys()
    assert {one.name for one in DATA.iterdir()} == {*READABLE}


@pytest.mark.parametrize("name", READABLE)
def test_a_sample_is_converted_and_proved(name: str) -> None:
    converted: list[Converted] = []
    for file in samples(name):
        try:
            converted += convert_all(file, TABLES).values()
        except InputError:
            continue  # such as a list that belongs to another file
    assert converted


@pytest.mark.parametrize("name", READABLE)
def test_an_invalid_file_has_a_line_and_a_column(name: str) -> None:
    files = sorted((DATA / name / "invalid").iterdir())
    assert len(files) >= FEWEST_INVALID
    for file in files:
        with pytest.raises(InputError) as caught:
            translate(file.read_bytes(), str(file), Reading(name), TABLES)
        for one in caught.value.diagnostics:
            assert one.position, (file, one)
            assert one.position.line, (file, one)
            assert one.position.column, (file, one)


@few_and_many(60, 600, "tries")
@pytest.mark.parametrize("name", READABLE)
def test_a_changed_sample_is_a_policy_or_an_error(name: str, tries: int) -> None:
    draw = random.Random(name)
    for _ in range(tries):
        file = draw.choice(samples(name))
        text = changed(file.read_text(), draw)
        for thread in (None, *names(text, name)[:1]):
            try:
                draft = translate(text.encode(), str(file), Reading(name, thread=thread), TABLES)
            except InputError as error:
                assert all(one.position for one in error.diagnostics), text
            else:
                assert draft, text
                assert draft.document(), text


def names(text: str, name: str) -> tuple[str, ...]:
    try:
        return filter_names(text.encode(), "changed", Reading(name))
    except InputError:
        return ()


def changed(text: str, draw: random.Random) -> str:
    """Return ``text`` with a part left out, repeated, or replaced by another."""
    for _ in range(draw.randint(1, 3)):
        words = re.findall(r"\w+|\s+|.", text) or ["\n"]
        said = [i for i, word in enumerate(words) if word.isalnum()]
        at, size = draw.choice(said or [0]), draw.choice((1, 1, 1, 2, 8))
        other = draw.randrange(len(words))
        part = draw.choice(
            (
                words[at : at + size] * 2,
                words[other : other + size],
                [],
                *[[one] for one in STRANGE],
            )
        )
        text = "".join([*words[:at], *part, *words[at + size :]])
    return text


@pytest.mark.parametrize("name", FORMATS)
def test_it_has_a_section_and_a_row(name: str) -> None:
    one = FORMATS[name]
    if name in READABLE:
        assert f"\n| {one.title} | `{name}` | {one.meaning} |\n" in PAGE
    anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in
               re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)}  # fmt: skip
    linked = re.findall(r"\(#([\w-]+)\)", one.title)
    assert linked
    assert anchors >= {*linked}


ABI = ABIS["aarch64"]
POLICY = """
arches: [aarch64]
default_action: {default}
unknown_action: {unknown}
bad_arch_action: {foreign}
syscalls:
- {{action: allow, names: [read, write, execve, exit_group]}}
"""
DEFAULTS = [
    *itertools.product(
        ("errno(ENOSYS)", "errno(EPERM)"),
        ("errno(ENOSYS)", "errno(EPERM)", "kill_thread"),
        ("kill_thread", "kill_process"),
    )
]


@pytest.mark.parametrize("name", WRITABLE)
def test_what_is_written_is_detected_and_reads_as_the_policy(name: str, tmp_path: Path) -> None:
    """With one of the defaults that some format has."""
    file = written(name, tmp_path)
    read_as = detect(file.read_bytes())
    assert read_as == ("oci" if name == "spo" else name)
    reading = writer(name).reading(ABI, None)
    assert reading.format == read_as
    policy, _ = load_policy(tmp_path / "demo.yml", TABLES)
    again, _ = load_policy(file, TABLES, reading)
    calls = [Call(number, ABI.audit_arch, (0,) * 6, 0) for number in range(400)]
    one, other = (meaning(found, ABI, TABLES) for found in (policy, again))
    assert [one.answer(call) for call in calls] == [other.answer(call) for call in calls]


def written(name: str, tmp_path: Path) -> Path:
    """Return the file of a policy in a format, whichever default that format has."""
    source = tmp_path / "demo.yml"
    for default, unknown, foreign in DEFAULTS:
        source.write_text(POLICY.format(default=default, unknown=unknown, foreign=foreign))
        try:
            made = write_files(name, build_policy(source, TABLES), TABLES, None)
        except InputError:
            continue
        ((file, content),) = made.items()
        (tmp_path / file).write_bytes(content)
        return tmp_path / file
    raise AssertionError(f"{name} has none of these defaults")
