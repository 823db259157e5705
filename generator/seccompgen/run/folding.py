"""Refusals that repeat, folded: each is reported at once when it is new, then by its count.

A program that polls is refused the same call thousands of times a second. What one *site* is
refused (a program's call, from one location, by one rule) is reported with the first `_VARIANTS`
different arguments and callers, and from then on when the count has one digit more. `finish`
reports the sites that were refused more often than was reported.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.run.refusal import Refusal

_VARIANTS = 50
"""Different arguments and callers of one site that are reported."""
_SITES = 1000
"""Sites that are remembered; of more, those are reported and forgotten that were idle longest."""


@dataclass
class _RefusalSite:
    """A site: ``count`` refusals, of which ``reported`` is the last count that was reported."""

    last: Refusal
    count: int = 0
    reported: int = 0
    variants: set[int] = field(default_factory=set)


class Folding:
    """Reports refusals by ``report``, each with how often its site was refused until then."""

    def __init__(self, report: Callable[[Refusal, int], None]) -> None:
        self._report = report
        self._sites: OrderedDict[object, _RefusalSite] = OrderedDict()

    def add(self, refusal: Refusal) -> None:
        """Count a refusal, and report it if it is new, or if the count has one digit more."""
        key = _site_of(refusal)
        site = self._sites.setdefault(key, _RefusalSite(refusal))
        self._sites.move_to_end(key)
        site.count += 1
        site.last = refusal
        variant = hash((refusal.call.kind, refusal.lines, refusal.callers))
        is_new = variant not in site.variants and len(site.variants) < _VARIANTS
        if is_new:
            site.variants.add(variant)
        if is_new or len(str(site.count)) > len(str(site.count - 1)):
            self._report_site(site)
        if len(self._sites) > _SITES:
            self._finish(self._sites.popitem(last=False)[1])

    def finish(self) -> None:
        """Report the count of each site that was refused since it was reported last."""
        for site in self._sites.values():
            self._finish(site)

    def _finish(self, site: _RefusalSite) -> None:
        if site.count > site.reported:
            self._report_site(site)

    def _report_site(self, site: _RefusalSite) -> None:
        # Before it is reported: what cannot be written ends everything, and is not tried again.
        site.reported = site.count
        self._report(site.last, site.count)


def _site_of(refusal: Refusal) -> object:
    """Return what refusals of one site have in common."""
    return (
        refusal.name,
        refusal.call.name,
        refusal.call.abi,
        refusal.action,
        refusal.rule,
        refusal.lines[:1] or refusal.location,
    )
