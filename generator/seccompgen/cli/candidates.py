"""Words that a shell may offer for an argument: ABIs, FILTERs, calls and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click
    from click.shell_completion import CompletionItem

_FILE = "file"
"""The type of an item for which a shell offers files as well."""


def abis(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the canonical names of ABIs."""
    from seccompgen.core.abis import ABIS  # noqa: PLC0415 - this and the rest only where asked for

    del ctx, param
    return _starting(ABIS, incomplete)


def filters(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of the stock policies, in addition to the files that the shell finds."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    from seccompgen.policy.stock import stock_policies  # noqa: PLC0415

    del ctx, param
    return [CompletionItem(incomplete, type=_FILE), *_starting(stock_policies(), incomplete)]


def calls(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of system calls on all ABIs."""
    from seccompgen.kernel.shipped import shipped_tables  # noqa: PLC0415

    del ctx, param
    tables = shipped_tables().tables.values()
    return _starting(sorted({name for table in tables for name in table.numbers}), incomplete)


def filter_and_call(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return FILTERs for the first word, calls for the second, and nothing for arguments."""
    before = ctx.params.get(param.name or "") or ()
    if not before:
        return filters(ctx, param, incomplete)
    return calls(ctx, param, incomplete) if len(before) == 1 else []


def calls_and_groups(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of system calls, and of groups after an @."""
    if not incomplete.startswith("@"):
        return calls(ctx, param, incomplete)
    from seccompgen.policy.groups import stock_groups  # noqa: PLC0415

    return _starting([f"@{name}" for name in stock_groups()], incomplete)


def _starting(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
