"""Read one tag's upstream files into tables: bytes in, values out, nothing else touched."""

from seccompgen.parse.assemble import parse
from seccompgen.parse.sources import CANDIDATES

__all__ = ["CANDIDATES", "parse"]
