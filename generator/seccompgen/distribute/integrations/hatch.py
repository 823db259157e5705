"""A build hook for hatchling: ``[tool.hatch.build.hooks.seccompgen]``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.plugin import hookimpl

if TYPE_CHECKING:
    from hatchling.builders.config import BuilderConfig

_HATCHS_OWN = {
    *("dependencies", "enable-by-default", "require-runtime-dependencies"),
    "require-runtime-features",
}


class SeccompgenBuildHook(BuildHookInterface["BuilderConfig"]):
    """Puts the filters of a project into its wheel, and the filters' sources into its sdist."""

    PLUGIN_NAME = "seccompgen"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the filters in place; make hatchling include them, whatever .gitignore says.

        Ends the build, with a line for each error, if a policy is wrong.
        """
        from seccompgen.core.errors import SeccompgenError  # noqa: PLC0415
        from seccompgen.io.console import error_text  # noqa: PLC0415 - loaded for other projects too

        try:
            self._initialize(version, build_data)
        except SeccompgenError as error:
            lines = error_text(error.diagnostics)
            self.app.abort(f"the seccomp filters cannot be built:\n{lines}")

    def _initialize(self, version: str, build_data: dict[str, Any]) -> None:
        from seccompgen.core.errors import InputError  # noqa: PLC0415
        from seccompgen.distribute.integrations.in_place import (  # noqa: PLC0415
            bring_up_to_date,
            require_project,
            sources,
        )

        root = Path(self.root)
        if unknown := sorted(self.config.keys() - _HATCHS_OWN):
            raise InputError(
                f"{root / 'pyproject.toml'}: [tool.hatch.build.hooks.seccompgen] has no "
                f"{', '.join(unknown)}: all settings stand in [tool.seccompgen]"
            )
        if self.target_name == "sdist":
            taken = sources(require_project(root))
        elif self.target_name == "wheel":
            package = bring_up_to_date(root)
            for line in package.told:
                self.app.display_info(line)
            # An editable wheel refers to the tree; copies in the wheel would hide it.
            taken = [] if version == "editable" else list(package.files)
        else:
            return
        for path in taken:
            # hatchling applies the target's own `sources` and `packages` to the second.
            build_data["force_include"][str(path)] = str(path.relative_to(root))


@hookimpl
def hatch_register_build_hook() -> type[BuildHookInterface[BuilderConfig]]:
    """Register the hook with hatchling."""
    return SeccompgenBuildHook
