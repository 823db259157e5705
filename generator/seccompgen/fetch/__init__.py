"""Get one tag's upstream files from wherever they are: bytes by path, checked against the lock."""

from seccompgen.fetch.get import DEFAULT_SOURCES, fetch
from seccompgen.fetch.shown import shown_url

__all__ = ["DEFAULT_SOURCES", "fetch", "shown_url"]
