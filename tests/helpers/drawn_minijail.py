"""Policies of minijail drawn at random, with what is seldom written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

CALLS = ("read", "ioctl", "openat", "mprotect")
CONSTANTS = ("PROT_EXEC", "AF_UNIX", "O_CLOEXEC", "MAP_SHARED")
ACTIONS = ("allow", "1", "kill", "kill-thread", "kill-process", "trap", "trace", "log", "return 13",
           "return EPERM")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Conjunctions of which one must hold, or none for always; the action's own text."""

    clauses: tuple[tuple[str, ...], ...]
    action: str

    def __str__(self) -> str:
        if not self.clauses:
            return self.action
        return f"{' || '.join(' && '.join(one) for one in self.clauses)}; {self.action}"


def drawn_value(draw: random.Random) -> str:
    """Return a value: a constant, a number of any base, or an expression of such."""
    match draw.randrange(6):
        case 0:
            return draw.choice(CONSTANTS)
        case 1:
            return f"~({drawn_value(draw)})"
        case 2:
            return f"({drawn_value(draw)} | {drawn_value(draw)})"
        case 3:
            return f"0{draw.choice([8, 9, 64, 1 << 30]):o}"
        case 4:
            return "-5"
    number = draw.choice([0, 1, 3, 0x10, 0xFFFFFFFF, 0x80000000])
    return draw.choice([f"{number:#x}", str(number), f"0X{number:X}"])


def drawn_case(draw: random.Random, actions: Sequence[str]) -> Case:
    """Return conditions on the first arguments, and an action."""
    ops = ("==", "!=", "<", "<=", ">", ">=", "&", "in")
    clauses = tuple(
        tuple(
            f"arg{draw.randrange(3)} {draw.choice(ops)} {drawn_value(draw)}"
            for _ in range(draw.randint(1, 2))
        )
        for _ in range(draw.randint(1, 2))
    )
    return Case(clauses, draw.choice(actions))


def drawn_minijail(draw: random.Random, arch: str) -> str:
    """Return a policy; ``arch`` is minijail's name of the architecture that it is for."""
    denies = draw.random() < 0.2
    default = draw.choice(["", "kill", "kill-process", "trap"]) if not denies else ""
    lines = ["# drawn", "@denylist" if denies else f"@default {default}" if default else ""]
    actions = [one for one in ACTIONS if not denies or one.startswith("return")]
    decided: set[str] = set()
    for _ in range(draw.randint(2, 6)):
        names = draw.sample(CALLS, draw.randint(1, 2))
        if decided & set(names):
            continue
        cases = [drawn_case(draw, actions) for _ in range(draw.randint(0, 2))]
        if not cases or draw.random() < 0.4:
            cases.append(Case((), draw.choice(actions)))
            decided.update(names)
        # `condition; return` alone is where its two compilers part.
        braced = len(cases) > 1 or "return" in cases[0].action or draw.random() < 0.5
        text = f"{{ {', '.join(map(str, cases))} }}" if braced else str(cases[0])
        own = draw.random() < 0.8
        limit = "" if own and draw.random() < 0.5 else f"[arch={arch if own else 'mips'},ppc]"
        called = ", ".join(f"{name}{limit}" for name in names)
        called = f"{{{called}}}" if len(names) > 1 or draw.random() < 0.3 else called
        broken = f" \\\n {text}" if draw.random() < 0.3 else f" {text}"
        lines.append(f"{called}:{broken} # told")
        if not own:
            decided -= set(names)
    return "\n".join([*lines, ""])
