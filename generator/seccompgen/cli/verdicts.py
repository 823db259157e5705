"""Verdicts on claims: decided, printed, and turned into an exit code."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from seccompgen.cli.common import build_options, progress
from seccompgen.core.errors import AnswerNo, Diagnostic, Position, UndecidedError
from seccompgen.core.styled import Style, Styled
from seccompgen.io.console import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from seccompgen.core.model import Origin
    from seccompgen.core.tables import Tables
    from seccompgen.filters.compare.claims import Claim, Verdict
    from seccompgen.verify.call import Call


def decided(claims: Sequence[Claim], method: str | None) -> list[Verdict]:
    """Return the verdict on each claim, by ``method`` or all that are installed."""
    from seccompgen.filters.compare.claims import decide  # noqa: PLC0415 - keeps --help fast
    from seccompgen.verify import Method, available_methods  # noqa: PLC0415

    methods = (Method(method),) if method else available_methods()
    verdicts = []
    with progress("proving") as report:
        for verdict in decide(claims, methods, build_options(cached=False)):
            verdicts.append(verdict)
            if report:
                report(len(verdicts), len(claims))
    return verdicts


def require_proved(
    verdicts: Iterable[Verdict], stale: Sequence[Diagnostic], method: str | None, tables: Tables
) -> None:
    """Raise AnswerNo for a refuted claim or anything ``stale``, UndecidedError if undecided."""
    from seccompgen.verify import Difference, Method, available_methods  # noqa: PLC0415

    wrong, undecided = [], []
    left_out = method != Method.Z3.value and method and Method.Z3 in available_methods()
    advice = "; without --method, z3 is asked as well" if left_out else ""
    for one in verdicts:
        place = Position(one.claim.file)
        if isinstance(one.result, Difference):
            wrong.append(Diagnostic(one.text(tables), place))
        elif isinstance(one.result, UndecidedError):
            text = f"{one.claim.abi.name}: {one.text(tables)}{advice}"
            undecided.append(Diagnostic(text, place))
    if wrong or stale:
        raise AnswerNo(*wrong, *stale, *undecided)
    if undecided:
        raise UndecidedError(*undecided)


def print_verdicts(
    verdicts: Iterable[Verdict], tables: Tables, print_refuted: Callable[[Verdict, Tables], None]
) -> None:
    """Print what is proved, refuted and undecided, by files."""
    for file, group in groupby(verdicts, key=lambda one: one.claim.file):
        _print(file, list(group), tables, print_refuted)


def _print(
    file: str,
    verdicts: Sequence[Verdict],
    tables: Tables,
    print_refuted: Callable[[Verdict, Tables], None],
) -> None:
    from seccompgen.verify import Difference, Proof  # noqa: PLC0415

    proved: dict[tuple[str, bool], list[str]] = {}
    assumed: dict[str, None] = {}
    for one in verdicts:
        if isinstance(one.result, Proof):
            by = " and ".join(method.value for method in one.result.methods)
            assumed |= dict.fromkeys(one.result.assuming)
            proved.setdefault((by, bool(one.result.assuming)), []).append(one.claim.abi.name)
    for (by, assuming), abis in proved.items():
        for_abis = f"{len(abis)} ABIs" if len(abis) > 1 else abis[0]
        policies = verdicts[0].claim.policies
        against = f", against {' and '.join(policies)}" if policies else ""
        text = f" for {for_abis} ({by}){against}"
        if verdicts[0].claim.report_only:
            text += ": report only, refuses nothing and logs what the policy refuses"
        if assuming:
            text += ", assuming that the kernel shows the high words of arguments as 0 on "
            text += ", ".join(assumed)
        say(Styled(f"{file}: ", ("proved", Style.GREEN), text))
    for one in verdicts:
        if isinstance(one.result, Difference):
            say(Styled(f"{file}: ", ("refuted", Style.RED), f" for {one.claim.abi.name}"))
            print_refuted(one, tables)
        elif not isinstance(one.result, Proof):
            say(Styled(f"{file}: ", ("undecided", Style.YELLOW), f" for {one.claim.abi.name}"))


def print_difference(verdict: Verdict, tables: Tables) -> None:
    """Print how each side answers the call: the rule that decides, or the path taken."""
    from seccompgen.render.listing import listing  # noqa: PLC0415

    say(f"  {verdict.text(tables)}")
    for side, name in enumerate(verdict.claim.names):
        if origin := verdict.origin(side):
            say(f"  {name}: by {origin.label}, {origin.position}")
        instructions, path = verdict.executed(side)
        if path:
            say(f"  {name}: by these instructions")
            lines = listing(instructions, verdict.claim.abi, tables)
            for at in path:
                say(f"  {at:5}  {lines[at].text}")


def call_as_json(call: Call) -> dict[str, Any]:
    """Return a call for JSON."""
    return {
        "nr": call.nr,
        "arch": call.arch,
        "instruction_pointer": call.instruction_pointer,
        "args": list(call.args),
    }


def verdict_as_json(verdict: Verdict, tables: Tables) -> dict[str, Any]:
    """Return a verdict for JSON."""
    from seccompgen.verify import Proof  # noqa: PLC0415

    claim, result = verdict.claim, verdict.result
    about: dict[str, Any] = {
        "file": claim.file,
        "abi": claim.abi.name,
        "policies": list(claim.policies),
        "report_only": claim.report_only,
        **({"rings": True} if claim.rings else {}),
    }
    if isinstance(result, UndecidedError):
        return about | {"result": "undecided", "text": verdict.text(tables)}
    if isinstance(result, Proof):
        methods = [one.value for one in result.methods]
        return about | {"result": "proved", "methods": methods, "assuming": list(result.assuming)}
    origins = verdict.origin(0), verdict.origin(1)
    return about | {
        "result": "refuted",
        "text": verdict.text(tables),
        **(
            {}
            if claim.rings
            else answers_as_json(verdict, result.call, (result.left, result.right), origins)
        ),
    }


def answers_as_json(
    verdict: Verdict,
    call: Call,
    answers: tuple[int, int],
    origins: tuple[Origin | None, Origin | None],
) -> dict[str, Any]:
    """Return a call with both sides' answers, and where these come from, for JSON."""
    sides = zip(verdict.claim.names, answers, origins, strict=True)
    return {
        "call": call_as_json(call),
        "sides": [
            {
                "name": name,
                "ret": ret,
                "rule": origin and {"label": origin.label, "position": str(origin.position)},
                "path": list(verdict.executed(side, call)[1]),
            }
            for side, (name, ret, origin) in enumerate(sides)
        ],
    }
