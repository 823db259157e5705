"""Make the table of companions: the calls of each exported function, release by release.

``library`` says which calls a function makes by itself, ``arguments`` which constants it passes.
``compare`` puts releases beside each other. All of it is read from files by `scan`; the table is
`lint.companions`.
"""
