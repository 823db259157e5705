"""Change a policy of ours in its own text: a name less, or a rule above those that decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.multiplexed import is_multiplexed
from seccompgen.formats.amending import Editor, refuses
from seccompgen.policy.editing import PolicyText, scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.model import ResolvedPolicy, Rule
    from seccompgen.formats.amending import Change


def _edits(text: str, policy: ResolvedPolicy, change: Change) -> Iterator[str]:
    """Yield changed texts: without the names, then with a rule at each place where it may help."""
    original = PolicyText(policy.file, text.splitlines())
    deciding = [
        rule
        for rule in policy.own_rules
        if rule.name in change.names
        and change.concerns(rule.action.kind)
        and rule.position.file == policy.file
    ]
    whole = {name for rule in change.rules if not rule.when for name in rule.names}
    less = _without_names(original, [one for one in deciding if one.name in whole])
    found = [less]
    for lines in _rules(policy, change):
        for base in filter(None, (original, less)):
            found += [base.with_rule(lines, rule.position) for rule in deciding[:1]]
            found += [base.with_rule(lines, None), base.with_rule_first(lines)]
    return (one.content.decode() for one in found if one)


OWN_EDITOR = Editor(_edits, divides=True)


def _without_names(text: PolicyText, rules: list[Rule]) -> PolicyText | None:
    """Return the text without the names of rules that have no condition."""
    out: PolicyText | None = text
    # From the last one, so that earlier positions stay valid.
    for position in sorted({one.position for one in rules if not one.condition}, reverse=True):
        out = out.without_name(position) if out else None
    return out


def _rules(policy: ResolvedPolicy, change: Change) -> Iterator[tuple[str, ...]]:
    """Yield the lines of a rule for the calls, for each answer that may be needed."""
    default = policy.default_action
    action = "allow" if change.allows else str(default) if refuses(default.kind) else "errno(EPERM)"
    names = [name for rule in change.rules if not rule.when for name in rule.names]
    lines = [f"- action: {action}"]
    if names:
        lines.append(f"  names: [{', '.join(names)}]")
    tested = [(name, rule.when) for rule in change.rules if rule.when for name in rule.names]
    if tested:
        lines.append("  names_with_args:")
        lines += [f"  - {{name: {name}, when: {scalar(when)}}}" for name, when in tested]
    yield tuple(lines)
    if tested and any(map(is_multiplexed, change.names)):
        for other in dict.fromkeys(("allow", str(default))):
            yield (*lines, f"  multiplexed: {other}")
