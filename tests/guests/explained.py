"""Ask `explain` about calls whose answers a guest's kernel is held to."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS
from seccompgen.filters.tell.explainer import Explainer
from seccompgen.filters.tell.written_call import CallOnAbi
from seccompgen.kernel.shipped import shipped_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guests.plan import Plan

_MOST_CALLS = 24
"""Calls of each run that are asked about; each takes a few milliseconds."""


def explained(plan: Plan) -> Iterator[str]:
    """Yield what is explained otherwise than the kernel must answer, in words."""
    tables = shipped_tables()
    with TemporaryDirectory() as directory:
        path = Path(directory) / "policy.json"
        explainers: dict[int, Explainer] = {}
        for run in plan.runs:
            if run.filter in plan.wrong:
                continue
            if run.filter not in explainers:
                path.write_text(json.dumps(plan.filters[run.filter].policy))
                explainers[run.filter] = Explainer(path, tables)
            explainer = explainers[run.filter]
            for call in run.calls[:: len(run.calls) // _MOST_CALLS + 1]:
                table = tables.table_of(call.arch, call.nr)
                assert table is not None
                ways = explainer.ways_through(ABIS[table.abi.name])
                (way,) = (one for one in ways if one.program.name == plan.abi)
                known = dict(enumerate(call.args))
                asked = CallOnAbi(table.names.get(call.nr, ""), call.nr, known, {})
                answers = {case.ret for case in explainer.call(way, asked).cases}
                if answers != {call.answer}:
                    told = ", ".join(map(hex, answers))
                    yield (
                        f"filter {run.filter}: nr {call.nr:#x} through {call.arch:#x} with "
                        f"{call.args} is explained as {told}, not {call.answer:#x}"
                    )
