"""Make the table of companions: the calls of each exported function, release by release.

``library`` finds the calls that a function makes by itself, ``arguments`` the constants that it
passes. ``compare`` compares releases. `scan` reads the files; `lint.companions` contains the table.
"""
