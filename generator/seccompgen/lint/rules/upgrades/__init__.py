"""What newer libraries and kernels call.

An upgraded C library, Python or OpenSSL makes other calls for the same functions. Lint compares the
[table of companions](companions.md), made from real releases, with the filter. Without `--from` and
`--to` it reports only what is certain: a function makes the permitted older call only after another
answer than the filter's. [drift.md](drift.md) says how lint guesses the functions that a filter is
for.
"""
