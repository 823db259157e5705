"""Known holes.

With `--shields` lint compares the filter with the [table of shields](shields.md): holes of Linux
and of sandboxes from 2016 on, each with the calls that reach it. A kernel that has the fix has no
such hole; refusing what a program never needs closes the next one, too.
"""
