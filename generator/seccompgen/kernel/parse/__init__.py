"""Read one tag's upstream files into tables: bytes in, values out, nothing else touched."""

from seccompgen.kernel.parse.assemble import parse
from seccompgen.kernel.parse.sources import CANDIDATES

__all__ = ["CANDIDATES", "parse"]
