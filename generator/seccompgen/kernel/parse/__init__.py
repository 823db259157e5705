"""Parse one tag's upstream files into tables: from bytes to values, without I/O."""

from seccompgen.kernel.parse.assemble import parse, parse_numbers
from seccompgen.kernel.parse.headers import HEADER_CANDIDATES
from seccompgen.kernel.parse.sources import NUMBER_CANDIDATES, PROTOTYPE_CANDIDATES

CANDIDATES = tuple(sorted({*NUMBER_CANDIDATES, *HEADER_CANDIDATES, *PROTOTYPE_CANDIDATES}))
"""Every upstream path that some tag from v5.10 on may need."""

__all__ = ["CANDIDATES", "NUMBER_CANDIDATES", "parse", "parse_numbers"]
