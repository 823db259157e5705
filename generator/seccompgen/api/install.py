"""Install a filter in the running process, by the runtime of generated modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seccomp_filters import _runtime

from seccompgen.api.policies import default_tables, source_of
from seccompgen.core.abis import require_abi

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.api.values import Filter


def install(wanted: Filter) -> int:
    """Compile ``wanted`` for the running interpreter, and install it: see `Filter.install`."""
    if wanted.policy.io_uring:
        from seccompgen.pipeline.numpy_threads import forgo_threads  # noqa: PLC0415 - few need it

        forgo_threads()  # The kernel filters the rings of one thread.
    from seccompgen.pipeline.build import build_policy  # noqa: PLC0415 - numpy

    tables = default_tables()
    abi = require_abi(_runtime.running_abi())
    built = build_policy(source_of(wanted), tables, [abi])
    (program,) = built.programs
    put: Callable[..., int] = _runtime.install
    numbers = tables.tables[abi.name].numbers
    parts: tuple[Any, ...] = numbers["seccomp"], program.to_bytes()
    actions = {*program.actions}
    for rings in built.rings:
        from seccompgen.render.ring_source import ring_value  # noqa: PLC0415 - few filter rings
        from seccompgen.run.ring_installer import ring_installer  # noqa: PLC0415 - as above

        put = ring_installer(built.policy.settings.without)
        parts += (ring_value(rings, tables.tables[abi.name]),)
        actions |= {*(rings.other.actions if rings.other else ())}
    return put(
        wanted.policy.name,
        {abi.name: parts},
        flags=int(wanted.flags),
        no_new_privs=wanted.no_new_privs,
        actions=tuple(sorted(actions)),
    )
