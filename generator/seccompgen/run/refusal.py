"""A filter's answer to a call, the rule behind it, and the location of the call.

The program decides, run by `verify.machine`; where the policy is at hand, `verify.oracle` says
which of its rules that is. Neither is the compiler's own view.
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
"""Functions of native code that are shown, where there is no Python."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that a filter does not let through.

    ``action`` is the filter's answer as a policy spells it. ``location`` is where the instruction
    after the call is, None if unknown; ``callers`` are those of native code, where there
    is no script; ``lines`` are those of a script, in ``language``. Of both the innermost come
    first. With ``made`` the call was made all the same.
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
        """Render as one line."""
        return self.line()

    def line(self, count: int = 1) -> str:
        """Return one line, for the last of ``count`` refusals."""
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
        """The call, and its ABI if that is not the filter's own."""
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
        """True if it was to end its process by SIGABRT, as abort() does, and was not made."""
        texts = [text for _, text in self.call.arguments]
        return (
            self.call.name in {"tgkill", "tkill", "kill"} and "SIGABRT" in texts and not self.made
        )

    def as_json(self) -> dict[str, object]:
        """Return the same as a value for JSON."""
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
    """A filter as a judge knows it; ``policy`` and ``meaning`` are None where it is bytes alone.

    A policy that is not compiled has no instructions; its meaning answers.
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
        """Return the SECCOMP_RET value for ``call``, and what decided it."""
        if self.meaning is None or self.policy is None:
            ret, path = self._code.run(call)
            return ret, DecidingRule(f"instruction {path[-1]}", self.file)
        return self.answer(call), deciding_rule(self.policy, self.meaning, call, tables)

    def with_conditions(self, rule: DecidingRule, call: Call, tables: Tables) -> DecidingRule:
        """Return ``rule``, which decided ``call``, with what the policy asks of the arguments."""
        return with_conditions(rule, self.policy, call, tables) if self.policy else rule


def refusal_of(
    call: Call, process: Process, judged: JudgedFilter, tables: Tables, *, made: bool
) -> Refusal:
    """Return all that is known of a call that ``judged`` refuses, while its thread waits."""
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
    """Return a judge that answers as the filter does, or lets all go on, and reports each refusal.

    ``on_listener`` gets processes that want a listener of their own, which the kernel refuses to
    those below one.
    """

    def judge(asked: Notification, waits: Callable[[], bool]) -> Answer:
        process = Process(asked.tid)
        ret = judged.answer(asked.call)
        if lets_through(ret):
            if waits():
                on_listener(process)
            return Proceed()
        refusal = refusal_of(asked.call, process, judged, tables, made=permissive)
        # What was read counts only if the thread that it was read of was waiting all the while.
        if waits():
            report(refusal)
        return Proceed() if permissive else _answer(ret, judged.abi)

    return judge


def _answer(ret: int, abi: Abi) -> Answer:
    """Return what the kernel would do with a call that is answered ``ret``."""
    data = ret & RET_DATA_MAX
    try:
        kind = ActionKind(ret & ~RET_DATA_MAX)
    except ValueError:
        return Kill()  # as the kernel takes what it does not know
    match kind:
        case ActionKind.ERRNO:
            return Fail(data)
        case ActionKind.TRAP:
            return Trap(data)
        case ActionKind.TRACE | ActionKind.USER_NOTIF:
            # Without a tracer or a listener: that is the supervisor, who has no answer.
            return Fail(errno_number("ENOSYS", abi))
    return Kill()
