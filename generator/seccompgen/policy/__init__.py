"""The policy front end: a policy file and what it includes, checked, as a ``model.Policy``.

``document`` reads YAML, JSON or TOML with positions, ``schema`` says what may stand in it,
``resolve`` gives it meaning against the tables.
"""

from seccompgen.policy.resolve import load_policy
from seccompgen.policy.schema import parse_action

__all__ = ["load_policy", "parse_action"]
