"""The rules of lint: a file for each, in a package for each section of docs/lint.md."""
