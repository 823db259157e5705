"""Options and arguments that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from seccompgen.cli import candidates
from seccompgen.core.abis import require_abi
from seccompgen.core.errors import did_you_mean
from seccompgen.core.objective import Optimize

if TYPE_CHECKING:
    from collections.abc import Callable

    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Tables

    ParamType: TypeAlias = click.ParamType[Any]
    Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
else:
    ParamType = click.ParamType  # which takes no argument before click 8.4

PATH = click.Path(path_type=Path)


def no_such_option(error: click.NoSuchOption) -> str:
    """Return our text for an option that a command lacks: that of click differs by its release."""
    return f"No such option {error.option_name!r}" + (
        did_you_mean(error.option_name, error.possibilities or ()) or "."
    )


class _AbiName(ParamType):
    """An ABI, by any of its names."""

    name = "abi"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Abi:
        del param, ctx
        return require_abi(value) if isinstance(value, str) else value


def read_tables(directory: Path | None) -> Tables:
    """Return the tables in ``directory``, or the shipped ones."""
    from seccompgen.kernel.shipped import load_tables, shipped_tables  # noqa: PLC0415

    return load_tables(directory) if directory else shipped_tables()


def _read(ctx: click.Context, param: click.Parameter, value: Path | None) -> Tables | None:
    del param
    return None if ctx.resilient_parsing else read_tables(value)


def filters_argument(name: str, metavar: str, *, required: bool = False) -> Decorator:
    """Return the argument for several FILTERs, or POLICYs."""
    return click.argument(
        name,
        nargs=-1,
        required=required,
        metavar=metavar,
        type=click.Path(),
        shell_complete=candidates.filters,
    )


def filter_argument(name: str, metavar: str = "FILTER") -> Decorator:
    """Return the argument for one FILTER."""
    return click.argument(
        name, metavar=metavar, type=click.Path(), shell_complete=candidates.filters
    )


def only_abi(text: str = "Only this ABI; needed for a raw .bpf file.") -> Decorator:
    """Return the option ``--arch`` of commands that take one ABI, as ``only``."""
    return click.option(
        "--arch",
        "only",
        type=_AbiName(),
        metavar="ABI",
        shell_complete=candidates.abis,
        help=text,
    )


def arches(text: str = "Only this ABI; repeatable.") -> Decorator:
    """Return the option ``--arch`` of commands that take several ABIs, as ``arches``."""
    return click.option(
        "--arch",
        "arches",
        multiple=True,
        type=_AbiName(),
        metavar="ABI",
        shell_complete=candidates.abis,
        help=text,
    )


def output(metavar: str, text: str, default: Path | None = None) -> Decorator:
    """Return the option for the file or directory to write."""
    return click.option("-o", "--output", type=PATH, metavar=metavar, default=default, help=text)


def form(choices: list[str], text: str) -> Decorator:
    """Return the option for the form of what is written, as ``form``; the first is the default."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(choices),
        default=choices[0],
        show_default=True,
        help=text,
    )


_TABLES_TEXT = "Use the tables in DIR, as written by 'tables -o DIR', not the shipped ones."
tables = click.option("--tables", type=PATH, metavar="DIR", callback=_read, help=_TABLES_TEXT)
tables_directory = click.option(
    "--tables", "tables_directory", type=PATH, metavar="DIR", help=_TABLES_TEXT
)
check = click.option(
    "--check", is_flag=True, help="Write nothing; exit 1 if something would change."
)
default_action = click.option(
    "--default-action",
    default="errno(EPERM)",
    show_default=True,
    metavar="ACTION",
    help="The answer to all other calls.",
)
optimize = click.option(
    "--optimize",
    type=click.Choice([goal.value for goal in Optimize]),
    help="Few instructions in all (size), few executed (speed), or both; default: balanced.",
)
no_bitmap = click.option(
    "--no-bitmap",
    is_flag=True,
    help="Optimize for kernels that run the filter for every call: those before 5.11.",
)
profile = click.option(
    "--profile",
    type=PATH,
    metavar="FILE",
    help="How often each call is made: the table of 'strace -c', or lines 'name: count'.",
)
report_only = click.option(
    "--report-only",
    is_flag=True,
    help="Write NAME_report_only instead of NAME: it refuses nothing; the kernel logs what "
    "NAME would refuse.",
)
no_cache = click.option("--no-cache", is_flag=True, help="Use no results of earlier runs.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
method = click.option(
    "--method",
    type=click.Choice(["classes", "z3"]),
    help="Use this method only; default: all that are installed.",
)
