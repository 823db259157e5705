"""A filter's answer to one operation of a ring, as values and as text: the rule and the path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from seccompgen.core.deciding import origin_json
from seccompgen.core.styled import Style, Styled
from seccompgen.core.text import some

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seccompgen.core.model import Origin


class OperationAnswer(NamedTuple):
    """One answer, and the condition of the fields that were left out; empty: it always holds.

    ``rule`` is None for a program without a policy.
    """

    permits: bool
    condition: str
    rule: Origin | None


class OperationExplanation(NamedTuple):
    """The answers to the operation ``title`` on ``abis``; the first that holds decides.

    ``steps`` are the executed instructions, of ``length`` in all. Without a program the kernel
    refuses the operation; there are no steps if fields that were left out decide. ``since`` is the
    first release of Linux with the operation.
    """

    abis: tuple[str, ...]
    title: str
    answers: tuple[OperationAnswer, ...]
    steps: tuple[str, ...]
    length: int
    since: str


def operation_explanation_text(found: Sequence[OperationExplanation]) -> Iterator[str | Styled]:
    """Yield the lines of explanations."""
    for one in found:
        yield Styled((f"{one.title} in a ring on {some(one.abis)}:", Style.STRONG))
        for place, answer in enumerate(one.answers):
            word = "permitted" if answer.permits else "refused, it fails with EACCES"
            style = Style.GREEN if answer.permits else Style.RED
            where = f" where {answer.condition}" if answer.condition else ""
            if place and not where:
                where = " otherwise"
            by = f", by {answer.rule.position} ({answer.rule.label})" if answer.rule else ""
            yield Styled("  ", (word, style), f"{where}{by}")
        if one.steps:
            yield f"  {len(one.steps)} of {one.length} instructions run:"
            yield from (f"    {step}" for step in one.steps)
        elif not one.length:
            yield "  it has no program: the kernel refuses it"
        yield f"  Linux has this operation since {one.since}"


def operation_explanation_json(file: str, found: Sequence[OperationExplanation]) -> dict[str, Any]:
    """Return explanations as a value for JSON."""
    return {
        "filter": file,
        "operations": [
            {
                "operation": one.title,
                "since": one.since,
                "abis": list(one.abis),
                "answers": [
                    {
                        "permitted": answer.permits,
                        "condition": answer.condition or None,
                        "rule": origin_json(answer.rule) if answer.rule else None,
                    }
                    for answer in one.answers
                ],
                "path": list(one.steps),
                "instructions": one.length,
            }
            for one in found
        ],
    }
