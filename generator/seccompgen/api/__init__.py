"""The library: policies as values, and what the command line does, as functions.

`seccompgen` itself has these names (``seccompgen.Policy``, ``seccompgen.compile``), and imports the
modules here when they are asked for.
"""
