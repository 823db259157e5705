"""The attacks, by what they are after; to load them registers them."""

import importlib

SUBJECTS = (
    *("sockets", "rings", "programs", "memory", "files", "processes", "neighbours"),
    *("connections", "kernel", "crashes", "local_sockets", "listening", "layers"),
)


def load() -> None:
    """Register all attacks."""
    for subject in SUBJECTS:
        importlib.import_module(f"escape.attacks.{subject}")
