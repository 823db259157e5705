"""The attacks, by what they are after; to load them registers them."""

import importlib

SUBJECTS = ("sockets", "programs", "memory", "files", "processes", "connections", "kernel")


def load() -> None:
    """Register all attacks."""
    for subject in SUBJECTS:
        importlib.import_module(f"escape.attacks.{subject}")
