"""Fold repeated refusals: report a new one at once, later ones by their count.

A program that polls is refused the same call thousands of times a second. A *site* is one program's
call, from one location, refused by one rule. Its refusals are reported for the first `_VARIANTS`
different arguments and callers, and whenever the count gains a digit. `finish` reports the sites
that were refused since their last report.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.run.refusal import Refusal

_VARIANTS = 50
"""The number of different arguments and callers that are reported per site."""
_SITES = 1000
"""The number of sites remembered; beyond it, the longest idle are reported and forgotten."""


@dataclass
class _RefusalSite:
    """A site with ``count`` refusals; ``reported`` is the last count that was reported."""

    last: Refusal
    count: int = 0
    reported: int = 0
    variants: set[int] = field(default_factory=set)


class Folding:
    """Reports refusals to ``report``, each with the number of refusals of its site so far."""

    def __init__(self, report: Callable[[Refusal, int], None]) -> None:
        self._report = report
        self._sites: OrderedDict[object, _RefusalSite] = OrderedDict()

    def add(self, refusal: Refusal) -> None:
        """Count a refusal, and report it if it is new, or if the count gains a digit."""
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
        """Report the count of each site that was refused since its last report."""
        for site in self._sites.values():
            self._finish(site)

    def _finish(self, site: _RefusalSite) -> None:
        if site.count > site.reported:
            self._report_site(site)

    def _report_site(self, site: _RefusalSite) -> None:
        # Set before reporting: a report that cannot be written ends everything, and is not retried.
        site.reported = site.count
        self._report(site.last, site.count)


def _site_of(refusal: Refusal) -> object:
    """Return the key that refusals of one site have in common."""
    return (
        refusal.name,
        refusal.call.name,
        refusal.call.abi,
        refusal.action,
        refusal.rule,
        refusal.lines[:1] or refusal.location,
    )
