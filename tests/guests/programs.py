"""Compile all that guests try, once for all of them, and keep it until the sources change."""

from __future__ import annotations

import base64
import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guests import cache, faults, foreign
from guests.machines import GUESTS
from guests.policies import POLICIES, policies
from oracle import LOW_WORDS
from strategies import programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oracle import PolicyDict

ABIS = tuple(dict.fromkeys(guest.abi for guest in GUESTS))

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Trial:
    """A program, what it must mean, and what it is called in messages."""

    what: str
    policy: PolicyDict
    program: bytes


@dataclass(frozen=True, slots=True)
class Programs:
    """All programs for one ABI: right ones, wrong ones, and those that meet foreign programs.

    ``meant`` are right ones of what the wrong ones should mean.
    """

    policies: tuple[Trial, ...]
    meant: tuple[Trial, ...]
    faults: tuple[Trial, ...]
    foreign: tuple[Trial, ...]


def compiled(abi: str) -> Programs:
    """Return the programs for one ABI. Compiles them all if that was not done yet."""
    path = cache.kept("programs/all", (_digest(), str(POLICIES)), _compile)
    kinds = json.loads(path.read_text())
    return Programs(**{kind: _trials(abi, entries) for kind, entries in kinds.items()})


def _trials(abi: str, entries: list[dict[str, Any]]) -> tuple[Trial, ...]:
    return tuple(
        Trial(entry["what"], entry["policy"], base64.b64decode(entry["programs"][abi]))
        for entry in entries
        if abi in entry["programs"]
    )


def _digest() -> str:
    digest = hashlib.sha256()
    for path in _files():
        digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _files() -> Iterator[Path]:
    """Yield the files that decide what programs come out."""
    here = Path(__file__)
    others = ("faults", "foreign", "machines", "policies")  # by the machines it is known which ABIs
    yield from (here, *(here.with_name(f"{name}.py") for name in others))
    names = ("escape/foreign", "helpers/oracle", "helpers/probes", "helpers/strategies")
    yield from (_ROOT / "tests" / f"{name}.py" for name in names)
    for suffix in ("py", "csv", "toml"):
        yield from sorted((_ROOT / "generator").rglob(f"*.{suffix}"))


def _compile() -> bytes:
    jobs: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "policies": [(f"policy {n}", policy) for n, policy in enumerate(policies(ABIS))],
        "meant": [
            (f"what faults are told from, {n}", {**policy, "arches": list(ABIS)})
            for n, policy in enumerate(faults.MEANT)
        ],
        "foreign": [
            (f"{abi} {place}", trial.policy)
            for abi in foreign.OTHER
            for place, trial in enumerate(foreign.trials(abi))
        ],
    }
    with ProcessPoolExecutor() as pool:
        kinds = {
            kind: [
                {"what": what, "policy": policy, "programs": made}
                for (what, policy), made in zip(
                    trials, pool.map(_programs, [policy for _, policy in trials]), strict=True
                )
            ]
            for kind, trials in jobs.items()
        }
        kinds["faults"] = list(pool.map(_fault, range(len(faults.FAULTS))))
    return json.dumps(kinds).encode()


def _programs(policy: dict[str, Any]) -> dict[str, str]:
    return {
        name: base64.b64encode(program.to_bytes()).decode()
        for name, program in programs(policy).items()
    }


def _fault(place: int) -> dict[str, Any]:
    fault = faults.FAULTS[place]
    # A rule asks for more than a low word; and guests of these ABIs try no faults.
    abis = fault.abis.split() or [abi for abi in ABIS if abi not in LOW_WORDS]
    made = {abi: base64.b64encode(fault.program(abi)).decode() for abi in abis}
    return {"what": fault.what, "policy": {**fault.policy, "arches": list(abis)}, "programs": made}
