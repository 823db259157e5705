"""The repository's own pre-commit configuration: its hook is the one that others get."""

from __future__ import annotations

from command import ROOT
from ruamel.yaml import YAML


def test_the_hook_is_the_one_that_others_get() -> None:
    yaml = YAML(typ="safe")
    hooks = yaml.load((ROOT / ".pre-commit-hooks.yaml").read_text())
    given = next(hook for hook in hooks if hook["id"] == "seccompgen-check")
    (local,) = yaml.load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    ours = next(hook for hook in local["hooks"] if hook["id"] == given["id"])
    assert ours == {key: value for key, value in given.items() if key != "description"} | {
        "entry": f".venv/bin/{given['entry']}",
        "language": "system",
    }
