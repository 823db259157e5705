"""The library: policies as values, and the commands as functions.

`seccompgen` itself exports these names (``seccompgen.Policy``, ``seccompgen.compile``), and imports
the modules here on first access.
"""
