"""A launcher in C: a program that installs the filter and becomes the command that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.model import kind_of_ret
from seccompgen.core.settings import FilterFlag
from seccompgen.languages import Language, c
from seccompgen.render.templates import BANNER, render_text
from seccompgen.verify.call import Call
from seccompgen.verify.machine import Code

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seccompgen.core.built import Built
    from seccompgen.core.program import CompiledProgram
    from seccompgen.core.tables import Tables


def _write(one: Built, tables: Tables) -> dict[str, bytes]:
    if problems := list(_problems(one, tables)):
        raise InputError(*problems)
    name = one.module_name
    files = c.LANGUAGE.write(one, tables)
    files |= {
        file: render_text(f"{template}.j2", banner=BANNER, name=name).encode()
        for file, template in (("launcher.c", "launcher.c"), ("Makefile", "launcher.mk"))
    }
    return {f"{name}/{file}": content for file, content in files.items()}


def _problems(one: Built, tables: Tables) -> Iterator[Diagnostic]:
    position = Position(one.policy.file)
    if one.policy.flags & FilterFlag.NEW_LISTENER:
        text = "a launcher becomes the command, so nobody is left to answer the listener"
        yield Diagnostic(f"{text}: use seccompgen run, or take out new_listener", position)
    refusing = [program.abi.name for program in one.programs if not _lets_execute(program, tables)]
    if refusing:
        text = f"refuses execve on {', '.join(refusing)}, by which a launcher starts the command"
        yield Diagnostic(f"{text}: allow it, or use seccompgen run", position)


def _lets_execute(program: CompiledProgram, tables: Tables) -> bool:
    call = Call(tables.tables[program.abi.name].numbers["execve"], program.abi.audit_arch)
    answer = Code(program.instructions, program.abi.byte_order).answer(call)
    return kind_of_ret(answer).lets_through


LANGUAGE = Language(_write, "launcher.md", c.TARGETS, filters_rings=True)
