"""The costs of filters: seccompgen's beside those of other tools, measured in one run."""

import sys
from pathlib import Path

# The interpreter and the corpus are the tests' own, which are modules and no package.
sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
