"""Conditions on operations of a ring in source form: `expressions`, and addresses in them.

    comparison  ``addr == ::1``, ``addr in 10.0.0.0/8``, ``addr in {10.0.0.0/8, fd00::/8}``,
                ``addr not in ...``; any other as in `expressions`, of fields instead of arguments

Python cannot parse addresses. Each is replaced by a name of the same length, so that all positions
stay, and is looked up again where the name stands.
"""

from __future__ import annotations

import itertools
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from string import ascii_uppercase
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seccompgen.policy.expressions import Expression, ExpressionError, parse_condition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seccompgen.policy.expressions import Place

Network: TypeAlias = IPv4Network | IPv6Network
_ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,9}(?:\.\d{1,9}){3}|(?=[\da-fA-F]*:)[\da-fA-F:]*:[\da-fA-F:.]*)(?:/\d{1,9})?(?![\w.:/])"
)
"""Four numbers with dots, or anything with a colon; `ip_network` decides whether it is one."""
_IN = re.compile(r"\b(not\s+in|in)(?=\s*$)")


class RingExpression(NamedTuple):
    """A condition, and the addresses in it by the constants that stand for them."""

    expression: Expression
    networks: Mapping[str, Network]


def parse_ring_condition(text: str, place: Place | None = None) -> RingExpression:
    """Read a ``when`` of the section ``io_uring``. Raises ExpressionError with every fault."""
    networks: dict[str, Network] = {}
    faults: list[tuple[str, int]] = []
    parts: list[str] = []
    end = 0
    for found in _ADDRESS.finditer(text):
        try:
            network = ip_network(found[0])
        except ValueError as error:
            faults.append(
                (f"{error}; write an address, or a network such as 10.0.0.0/8", found.start())
            )
            continue
        name = next(
            name for name in _names(len(found[0])) if name not in text and name not in networks
        )
        networks[name] = network
        parts += (_compared(text[end : found.start()]), name)
        end = found.end()
    if faults:
        raise ExpressionError(faults)
    whole = "".join([*parts, text[end:]])
    expression = parse_condition(whole, place) if place else parse_condition(whole)
    return RingExpression(expression, networks)


def _names(length: int) -> Iterator[str]:
    """Yield constants of ``length`` characters, at least two."""
    for first, second in itertools.product(ascii_uppercase, repeat=2):
        yield (first + second).ljust(length, "_")


def _compared(before: str) -> str:
    """Return the text before an address with ``in`` as ``==``: `expressions` wants a set there."""
    return _IN.sub(lambda found: ("==" if found[0] == "in" else "!=").ljust(len(found[0])), before)
