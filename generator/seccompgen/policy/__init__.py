"""The policy front end: it turns a policy file and its includes into a ``model.ResolvedPolicy``.

``document`` reads YAML, JSON or TOML with positions, ``layers`` reads included files, ``keys``
declares the keys that ``schema`` checks, and ``resolve`` interprets them with the tables.
``allowlist_text`` and ``yaml_text`` write policies.
"""
