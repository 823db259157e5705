"""The shipped operations and registrations of io_uring, against the headers of two releases."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from first_releases import release
from seccompgen.kernel import shipped
from upstream import NEW, OLD, REAL

_FILE = Path(shipped.__file__).with_name("io_uring.csv")
_SHIPPED = list(csv.DictReader(_FILE.read_text().splitlines()))
_SIZES = {"be16": 2, "u32": 4, "be32": 4, "u64": 8, "16 bytes": 16}
_FIELDS = {
    "CONNECT": {"family": "u32", "port": "be16", "v4_addr": "be32", "v6_addr": "16 bytes"},
    "OPENAT": {"flags": "u64", "mode": "u64", "resolve": "u64"},
    "OPENAT2": {"flags": "u64", "mode": "u64", "resolve": "u64"},
    "SOCKET": {"family": "u32", "type": "u32", "protocol": "u32"},
}
"""The fields that ``struct io_uring_bpf_ctx`` has, copied from the header by hand."""


def _named(kind: str) -> dict[str, int]:
    return {row["name"]: int(row["nr"]) for row in _SHIPPED if row["kind"] == kind}


def _header(tag: str) -> tuple[dict[str, int], dict[str, int]]:
    """Return operations and registrations by name, with their numbers, of a release's header."""
    text = (REAL / tag / "include/uapi/linux/io_uring.h").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    operations = re.findall(r"^\tIORING_OP_(\w+),", text, re.MULTILINE)
    body = text[text.index("\tIORING_REGISTER_BUFFERS") : text.index("\tIORING_REGISTER_LAST")]
    registrations = re.findall(r"^\tIORING_(\w+)\s*= (\d+),", body, re.MULTILINE)
    return (
        {name: nr for nr, name in enumerate(operations[:-1])},
        {name.removeprefix("REGISTER_"): int(nr) for name, nr in registrations},
    )


def test_numbers_are_dense_and_names_unique() -> None:
    for kind, count in (("op", 65), ("register", 38)):
        assert sorted(_named(kind).values()) == list(range(count))
    assert len(_SHIPPED) == 65 + 38


@pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/kernel")
def test_the_pins_header_has_the_same_names() -> None:
    assert (_named("op"), _named("register")) == _header(NEW)


@pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/kernel")
def test_an_old_header_has_what_was_there_by_then() -> None:
    then = release(".".join(OLD.removeprefix("v").split(".")[:2]))
    had = [row for row in _SHIPPED if release(row["since"]) <= then]
    expected = (
        {row["name"]: int(row["nr"]) for row in had if row["kind"] == kind}
        for kind in ("op", "register")
    )
    assert tuple(expected) == _header(OLD)


def test_an_operation_is_as_old_as_its_number() -> None:
    """Operations were appended in order; so were registrations, but for ZCRX_IFQ (32)."""
    for kind, exception in (("op", ""), ("register", "ZCRX_IFQ")):
        ages = [
            (int(row["nr"]), release(row["since"]))
            for row in _SHIPPED
            if row["kind"] == kind and row["name"] != exception
        ]
        assert [age for _, age in sorted(ages)] == sorted(age for _, age in ages)


def test_fields_make_up_what_filters_see() -> None:
    for row in _SHIPPED:
        fields = _FIELDS.get(row["name"], {}) if row["kind"] == "op" else {}
        assert row["fields"].split() == list(fields)
        sizes = [_SIZES[kind] for kind in fields.values()]
        if row["name"] == "CONNECT":  # two bytes of padding, and both addresses in one place
            sizes = [4, 2, 2, 16]
        assert row["pdu_size"] == (str(sum(sizes)) if row["kind"] == "op" else "")
        assert bool(row["fields_since"]) == bool(fields)


@pytest.mark.skipif(not (REAL / NEW / "io_uring").is_dir(), reason="no kernel's source")
def test_the_pins_source_fills_fields_for_the_same_operations() -> None:
    text = (REAL / NEW / "io_uring" / "opdef.c").read_text()
    filling = set()
    for name, body in re.findall(r"^\t\[IORING_OP_(\w+)\] = \{\n(.*?)^\t\},", text, re.M | re.S):
        if "filter_pdu_size" in body:
            filling.add(name)
    assert filling == set(_FIELDS)
