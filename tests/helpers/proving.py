"""Help for tests of the provers: policies as the model has them, and independent answers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import interpreter
import oracle
from probes import interesting_calls
from seccompgen.core.abis import ABIS
from seccompgen.core.errors import UndecidedError
from seccompgen.core.program import Instruction
from seccompgen.filters.find.loaded_filter import load_filter
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables
from seccompgen.verify import Code, Difference, Method, Proof, kernel_objections, meaning, prove
from seccompgen.verify.call import Call
from stock_policies import CONSTANTS, STOCK, read_policy
from strategies import loaded, plain_tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    import probes
    from interpreter import ByteOrder, Result
    from seccompgen.core.model import ResolvedPolicy
    from seccompgen.verify import Meaning
    from seccompgen.verify.stack import FilterSemantics

TABLES = shipped_tables()
GENERATED = Path(__file__).parents[2] / "generated" / "seccomp_filters"


def meaning_of(policy: oracle.PolicyDict, abi: str) -> Meaning:
    return meaning(loaded(policy), ABIS[abi], TABLES)


@cache
def _bytes(instructions: tuple[Instruction, ...], byte_order: ByteOrder) -> bytes:
    return interpreter.assemble([(i.code, i.jt, i.jf, i.k) for i in instructions], byte_order)


def ran(code: Code, call: Call) -> Result:
    """Return what the independent interpreter makes of ``call``."""
    data = interpreter.seccomp_data(
        call.nr, call.arch, call.args, call.instruction_pointer, code.byte_order
    )
    return interpreter.run(_bytes(code.instructions, code.byte_order), data, code.byte_order)


def decided(
    policy: oracle.PolicyDict, abi: str, call: Call, constants: dict[str, int] | None = None
) -> int:
    """Return what the independent oracle says of ``call``."""
    meant = oracle.Meaning(policy, plain_tables(), abi, constants or {})
    return meant.decide(call.arch, call.nr, call.args)


def as_call(call: probes.Call, instruction_pointer: int = 0xABCDEF) -> Call:
    a, b, c, d, e, f = call.args
    return Call(call.nr, call.arch, (a, b, c, d, e, f), instruction_pointer)


def named_call(abi: str, name: str, *args: int) -> Call:
    """Return a call by its name or number; the arguments that are not given are 0."""
    number = int(name) if name.isdecimal() else TABLES.tables[abi].numbers[name]
    a, b, c, d, e, f = (*args, *(0,) * (6 - len(args)))
    return Call(number, ABIS[abi].audit_arch, (a, b, c, d, e, f))


def spread_out(items: Iterable[Any], most: int) -> list[Any]:
    """Return ``most`` of ``items``, evenly from all over, or all if they are fewer."""
    every = list(items)
    return [every[n * len(every) // most] for n in range(most)] if len(every) > most else every


def both(
    left: FilterSemantics, right: FilterSemantics, assuming: tuple[str, ...] = ()
) -> tuple[dict[Method, Proof | Difference], str]:
    """Return what each method finds that can decide, having asserted that they agree.

    A proof must assume just what ``assuming`` says. With it comes why one could not.
    """
    found: dict[Method, Proof | Difference] = {}
    reason = ""
    for method in Method:
        try:
            found[method] = prove(left, right, [method])
        except UndecidedError as error:
            assert method is Method.CLASSES, error
            reason = str(error)
            assert "mistake" not in reason, (left, right, reason)
    assert len({type(one) for one in found.values()}) == 1, found
    for method, one in found.items():
        assert one == Proof((method,), assuming) or isinstance(one, Difference)
    return found, reason


# --- the stock filters ---------------------------------------------------------------------------


class Stock(NamedTuple):
    """A committed program, what it must mean, and the policy in the plainest form."""

    name: str
    abi: str
    code: Code
    means: Meaning
    policy: dict[str, Any]

    def calls(self, most: int) -> list[Call]:
        """Return calls on which a wrong program would most likely show, evenly from all of them."""
        found = interesting_calls(self.policy, plain_tables(), self.abi, CONSTANTS)
        return [as_call(call) for call in spread_out(found, most)]


@cache
def stock() -> tuple[Stock, ...]:
    return tuple(
        _stock_program(path, abi, code)
        for path in STOCK
        for abi, code in load_filter(GENERATED / path.stem, TABLES).programs.items()
    )


def stock_program(name: str, abi: str) -> Stock:
    """Return one of `stock`, without what the others take."""
    (path,) = (path for path in STOCK if path.stem == name)
    return _stock_program(path, abi, load_filter(GENERATED / name, TABLES).programs[abi])


def _stock_program(path: Path, abi: str, code: Code) -> Stock:
    policy, plain = _read(path)
    means = meaning(policy, TABLES.tables[abi].abi, TABLES)
    return Stock(path.stem, abi, code, means, plain)


@cache
def _read(path: Path) -> tuple[ResolvedPolicy, dict[str, Any]]:
    return load_policy(path, TABLES)[0], read_policy(path)


def little(*instructions: tuple[int, int, int, int]) -> Code:
    code = Code(tuple(Instruction(*one) for one in instructions), "little")
    assert not kernel_objections(code.instructions)
    return code
