"""A filter's answer to a call, the rule behind it, and the location of the call.

`verify.machine` runs the program for the answer; if the policy is available, `verify.oracle` finds
the rule behind it. Neither shares the compiler's own view.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from seccompgen.core.deciding import DecidingRule
from seccompgen.core.errnos import errno_number
from seccompgen.core.model import RET_DATA_MAX, ActionKind
from seccompgen.core.text import printable
from seccompgen.filters.tell.decisive_rules import deciding_rule, with_conditions
from seccompgen.render.listing import ret_action
from seccompgen.run.decoded_call import decode_call
from seccompgen.run.locations import locations_of
from seccompgen.run.notification import Fail, Kill, Proceed, Trap
from seccompgen.run.notify_rewrite import lets_through
from seccompgen.run.process import Process
from seccompgen.run.scripts import LANGUAGES, script_lines
from seccompgen.verify import Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.abis import Abi
    from seccompgen.core.errors import Position
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.core.program import Instruction
    from seccompgen.core.tables import Table, Tables
    from seccompgen.run.decoded_call import DecodedCall
    from seccompgen.run.notification import Answer, Notification
    from seccompgen.run.process import CodeLocation
    from seccompgen.verify import Meaning
    from seccompgen.verify.call import Call

_LOCATIONS_SHOWN = 6
"""The number of native locations shown if there are no lines of a script."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that a filter refuses.

    ``action`` is the filter's answer as a policy spells it. ``location`` is that of the instruction
    after the call, None if unknown. ``callers`` are the native callers, if there is no script;
    ``lines`` are those of a script, in ``language``. Both begin with the innermost. If ``made``,
    the call was made all the same.
    """

    pid: int
    tid: int
    name: str
    call: DecodedCall
    action: str
    rule: DecidingRule
    location: CodeLocation | None
    callers: tuple[CodeLocation, ...]
    lines: tuple[str, ...]
    language: str
    made: bool
    abi: Abi

    def __str__(self) -> str:
        """Render on one line."""
        return self.line()

    def line(self, count: int = 1) -> str:
        """Return the refusal on one line, as the last of ``count``."""
        what = "would refuse" if self.made else "refused"
        often = f" {count:,} times" if count > 1 else ""
        return f"{what}{often}: {self.who} {self.what}: {self.action} by {self.rule}{self.where}"

    @property
    def who(self) -> str:
        """The thread, by its name and its numbers."""
        thread = f"{self.pid}" if self.tid == self.pid else f"{self.pid}, thread {self.tid}"
        return f"{printable(self.name)}[{thread}]"

    @property
    def what(self) -> str:
        """The call, with its ABI if that is not the filter's own."""
        return (
            f"{self.call} on {self.call.abi}" if self.call.abi != self.abi.name else f"{self.call}"
        )

    @property
    def where(self) -> str:
        """The locations in the program, after a comma; empty if none is known."""
        native = (self.location, *self.callers) if self.location else ()
        locations = [*self.lines, *(printable(str(location)) for location in native)]
        return f", at {', '.join(locations)}" if locations else ""

    @property
    def is_abort(self) -> bool:
        """True if the call would send SIGABRT, as abort() does, and was not made."""
        texts = [text for _, text in self.call.arguments]
        return (
            self.call.name in {"tgkill", "tkill", "kill"} and "SIGABRT" in texts and not self.made
        )

    def as_json(self) -> dict[str, object]:
        """Return the refusal as a value for JSON."""
        return {
            "pid": self.pid,
            "tid": self.tid,
            "name": self.name,
            "syscall": self.call.name,
            "abi": self.call.abi,
            "args": [{"value": value, "text": text} for value, text in self.call.arguments],
            "action": self.action,
            "rule": self.rule.as_json(),
            "place": self.location and asdict(self.location),
            "callers": [asdict(location) for location in self.callers],
            **{key: list(self.lines) if key == self.language else [] for key in LANGUAGES},
            "made": self.made,
        }


@dataclass(frozen=True)
class JudgedFilter:
    """A filter that judges calls; ``policy`` and ``meaning`` are None if it is only bytes.

    A policy that is not compiled has no ``instructions``; its ``meaning`` answers.
    """

    file: Position
    table: Table
    instructions: tuple[Instruction, ...]
    policy: ResolvedPolicy | None = None
    meaning: Meaning | None = None

    @property
    def abi(self) -> Abi:
        """The ABI that the program is for."""
        return self.table.abi

    @cached_property
    def _code(self) -> Code:
        return Code(self.instructions, self.abi.byte_order)

    def answer(self, call: Call) -> int:
        """Return the SECCOMP_RET value for ``call``."""
        answers = self._code if self.instructions or self.meaning is None else self.meaning
        return answers.answer(call)

    def decide(self, call: Call, tables: Tables) -> tuple[int, DecidingRule]:
        """Return the SECCOMP_RET value for ``call``, and the rule or instruction behind it."""
        if self.meaning is None or self.policy is None:
            ret, path = self._code.run(call)
            return ret, DecidingRule(f"instruction {path[-1]}", self.file)
        return self.answer(call), deciding_rule(self.policy, self.meaning, call, tables)

    def with_conditions(self, rule: DecidingRule, call: Call, tables: Tables) -> DecidingRule:
        """Return ``rule``, which decided ``call``, with the policy's conditions on arguments."""
        return with_conditions(rule, self.policy, call, tables) if self.policy else rule


def refusal_of(
    call: Call, process: Process, judged: JudgedFilter, tables: Tables, *, made: bool
) -> Refusal:
    """Return the refusal of ``call`` by ``judged``; call this while the thread waits."""
    ret, rule = judged.decide(call, tables)
    language, lines = script_lines(process)
    locations = locations_of(process, call.instruction_pointer, 1 if lines else _LOCATIONS_SHOWN)
    return Refusal(
        process.pid,
        process.tid,
        process.name,
        decode_call(call, process, tables),
        ret_action(ret, judged.abi),
        judged.with_conditions(rule, call, tables),
        locations[0] if locations else None,
        locations[1:],
        lines,
        language,
        made,
        judged.abi,
    )


def judge_by(
    judged: JudgedFilter,
    tables: Tables,
    report: Callable[[Refusal], None],
    on_listener: Callable[[Process], None],
    *,
    permissive: bool,
) -> Callable[[Notification, Callable[[], bool]], Answer]:
    """Return a judge that answers as the filter does and reports each refusal.

    If ``permissive``, the judge reports refusals but lets every call through. ``on_listener``
    receives processes that want a listener of their own, which the kernel refuses below another.
    """

    def judge(asked: Notification, waits: Callable[[], bool]) -> Answer:
        process = Process(asked.tid)
        ret = judged.answer(asked.call)
        if lets_through(ret):
            if waits():
                on_listener(process)
            return Proceed()
        refusal = refusal_of(asked.call, process, judged, tables, made=permissive)
        # The data counts only if its thread was waiting while it was read.
        if waits():
            report(refusal)
        return Proceed() if permissive else _answer(ret, judged.abi)

    return judge


def _answer(ret: int, abi: Abi) -> Answer:
    """Return the kernel's reaction to the SECCOMP_RET value ``ret``."""
    data = ret & RET_DATA_MAX
    try:
        kind = ActionKind(ret & ~RET_DATA_MAX)
    except ValueError:
        return Kill()  # as the kernel treats unknown actions
    match kind:
        case ActionKind.ERRNO:
            return Fail(data)
        case ActionKind.TRAP:
            return Trap(data)
        case ActionKind.TRACE | ActionKind.USER_NOTIF:
            # As without a tracer or listener: the supervisor is in their place, and has no answer.
            return Fail(errno_number("ENOSYS", abi))
    return Kill()
