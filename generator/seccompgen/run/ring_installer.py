"""The install function of filters with a section ``io_uring``, for a command.

It is the runtime of generated modules; seccompgen itself has no filter that needs it.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def ring_installer(without: str) -> Callable[..., int]:
    """Return `_io_uring.install`, which does ``without`` where the kernel cannot filter rings."""
    from seccompgen.render.templates import IO_URING_NAME, template_files  # noqa: PLC0415

    (path,) = (one for one in template_files() if one.name == IO_URING_NAME)
    module = ModuleType(f"seccomp_filters.{path.stem}")
    module.__package__ = "seccomp_filters"
    exec(compile(path.read_bytes(), path, "exec"), module.__dict__)  # noqa: S102 - our own file
    install: Callable[..., int] = module.install
    return functools.partial(install, without=without)
