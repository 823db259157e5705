"""The policy front end: a policy file and what it includes, checked, as a ``model.ResolvedPolicy``.

``document`` reads YAML, JSON or TOML with positions, ``layers`` reads included files, ``keys``
declares the keys that ``schema`` checks, and ``resolve`` gives them meaning against the tables.
``allowlist_text`` and ``yaml_text`` write policies.
"""
