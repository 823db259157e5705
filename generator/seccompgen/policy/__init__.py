"""The policy front end: a policy file and what it includes, checked, as a ``model.Policy``.

``document`` reads YAML, JSON or TOML with positions, ``schema`` says what may stand in it,
``resolve`` gives it meaning against the tables. ``write`` goes the other way, for policies that
a tool derives.
"""

from seccompgen.policy.resolve import load_policy
from seccompgen.policy.schema import parse_action
from seccompgen.policy.write import Allowed, write_policy

__all__ = ["Allowed", "load_policy", "parse_action", "write_policy"]
