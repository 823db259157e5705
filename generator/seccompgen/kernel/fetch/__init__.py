"""Get one tag's upstream files from any source: bytes by path, checked against the lock."""

from seccompgen.kernel.fetch.get import DEFAULT_SOURCES, fetch
from seccompgen.kernel.fetch.shown import shown_url

__all__ = ["DEFAULT_SOURCES", "fetch", "shown_url"]
