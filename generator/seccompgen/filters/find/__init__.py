"""Filters found and read: files, packages, modules, raw instructions; the answers of a program."""
