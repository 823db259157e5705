"""The files of facts beside the matrix, such as ``constants.csv``: a part of `Facts` each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from seccompgen.kernel import constants_file, prototypes_file, since_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seccompgen.core.facts import Facts


class FactFile(NamedTuple):
    """A file that holds one field of `Facts`, ``part``, and has its hash in the lock.

    ``render`` returns its content. ``read`` takes that, the file's name for messages, and the ABIs
    of the lock in their order; it raises InputError, with positions, for everything that ``render``
    never writes. ``read_written`` takes the same, for a content that ``render`` is known to have
    written: it reads what is asked for, and checks nothing.
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
"""Every file of facts, in the order in which the lock has them."""
TAG_PARTS = ("constants", "prototypes")
"""The parts that upstream's files of one tag give; the history is older than any of them."""


def render_facts(facts: Facts) -> dict[str, bytes]:
    """Return the content of each file of facts, by part; a part without facts has no file."""
    parts = {one.part: (one, getattr(facts, one.part)) for one in FACT_FILES}
    return {part: one.render(values) for part, (one, values) in parts.items() if values}
