"""The files of facts, such as ``constants.csv``: each holds one field of `Facts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from seccompgen.kernel import constants_file, prototypes_file, since_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seccompgen.core.facts import Facts


class FactFile(NamedTuple):
    """A file that holds the field ``part`` of `Facts`; the lock contains its hash.

    ``render`` returns the content of the file. ``read`` parses the content, given the file's name
    for messages and the ABIs of the lock in their order; it raises InputError, with positions, for
    anything that ``render`` never writes. ``read_written`` has the same parameters, but trusts that
    ``render`` wrote the content: it may parse on access, and need not check.
    """

    part: Literal["constants", "prototypes", "since"]
    render: Callable[[Any], bytes]
    read: Callable[[bytes, str, Sequence[str]], Mapping[str, Any]]
    read_written: Callable[[bytes, str, Sequence[str]], Mapping[str, Any]]

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{self.part}.csv"


FACT_FILES: tuple[FactFile, ...] = (
    FactFile(
        "constants", constants_file.render, constants_file.read, constants_file.WrittenConstants
    ),
    FactFile(
        "prototypes",
        prototypes_file.render,
        prototypes_file.read,
        prototypes_file.WrittenPrototypes,
    ),
    FactFile("since", since_file.render, since_file.read, since_file.read),
)
"""Every file of facts, in the order of the lock."""
TAG_PARTS = ("constants", "prototypes")
"""The parts that upstream's files of one tag determine; the history spans many tags."""


def render_facts(facts: Facts) -> dict[str, bytes]:
    """Return the content of each file of facts, by part; a part without facts has no file."""
    parts = {one.part: (one, getattr(facts, one.part)) for one in FACT_FILES}
    return {part: one.render(values) for part, (one, values) in parts.items() if values}
