"""An editor's help with a policy, by npm's yaml-language-server and our schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command import inside
from language_server import CARET, LanguageServer, missing
from seccompgen.pipeline.build import shipped_tables
from seccompgen.policy.groups import stock_groups
from seccompgen.policy.modeline import MODELINE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.skipif(bool(missing()), reason=missing() or "there"),
]

TABLES = shipped_tables()
RULE = f"{MODELINE}default_action: errno\nsyscalls:\n- action: allow\n  "
OPENAT = f"{RULE}names_with_args:\n  - name: openat\n    arguments:\n    - "


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    project = tmp_path_factory.mktemp("project")
    assert inside("init", cwd=project).code == 0
    with LanguageServer(project / "seccomp") as server:
        yield server


OFFERED = {
    "keys": (f"{MODELINE}{CARET}", ["default_action", "syscalls", "groups"]),
    "actions": (f"{MODELINE}default_action: {CARET}", ["allow", "kill_process", "errno(EACCES)"]),
    "keys of a group": (f"{RULE}n{CARET}", ["names", "names_with_args", "when", "optional"]),
    "calls": (f"{RULE}names:\n  - re{CARET}", ["read", "readv"]),
    "calls in a line": (f"{RULE}names: [write, op{CARET}]", ["openat", "openat2"]),
    "groups of calls": (f"{RULE}names:\n  - '@{CARET}'", ['"@basic-io"']),
    "ABIs": (f"{MODELINE}arches: [{CARET}]", ["x86_64", "aarch64"]),
    "flags": (f"{MODELINE}flags: [{CARET}]", ["tsync", "log"]),
    "the call of a condition": (f"{RULE}names_with_args:\n  - name: op{CARET}", ["openat"]),
    "its arguments": (f"{OPENAT}argument: {CARET}", ["dfd", "filename", "flags", "mode"]),
    "its arguments in a line": (f"{OPENAT}{{argument: {CARET}}}", ["dfd", "flags"]),
    "operations": (f"{OPENAT}operation: {CARET}", ["Equal", "MaskedEqual"]),
    "constants": (f"{OPENAT}{{argument: flags, operation: Equal, value: {CARET}}}", ["O_CREAT"]),
    "constants of a mask": (
        f"{OPENAT}argument: flags\n      operation: MaskedEqual\n      mask: O_{CARET}",
        ["O_ACCMODE"],
    ),
    "conditions": (f"{RULE}names: [mmap]\n  when: {CARET}", ["not prot & PROT_EXEC"]),
}


@pytest.mark.parametrize("case", OFFERED)
def test_it_completes(editor: LanguageServer, case: str) -> None:
    text, wanted = OFFERED[case]
    assert set(wanted) <= set(editor.completions(text))


def test_only_what_fits_is_offered(editor: LanguageServer) -> None:
    flags = editor.completions(OFFERED["constants"][0])
    assert "AF_UNIX" not in flags
    assert "family" not in editor.completions(OFFERED["its arguments"][0])


MARKED = {
    "a call": (f"{RULE}names: [read, reed]\n", 5, f"no system call of Linux {TABLES.tag}"),
    "an action": (f"{MODELINE}default_action: alow\n", 2, "no action, such as allow"),
    "data": (f"{MODELINE}default_action: errno(4096)\n", 2, "no action, such as allow"),
    "a key": (f"{MODELINE}syscals: []\n", 2, "Property syscals is not allowed."),
    "a key of a group": (f"{RULE}names: [read]\n  wen: x\n", 6, "Property wen is not allowed."),
    "an operation": (f"{OPENAT}{{operation: Same}}\n", 8, "no operation"),
    "an argument": (
        f"{OPENAT}{{argument: flag, operation: Equal}}\n",
        *(8, 'Valid values: "dfd", "filename", "flags", "mode"'),
    ),
    "a constant": (
        f"{OPENAT}{{argument: flags, operation: Equal, value: O_CRAET}}\n",
        *(8, "no constant of that name"),
    ),
    "a width": (f"{OPENAT}{{operation: Equal, width: 31}}\n", 8, "Value is not accepted"),
    "a group's name": (f"{MODELINE}groups: {{a.b: [read]}}\n", 2, ""),
    "an ABI": (f"{MODELINE}arches: [x86_65]\n", 2, "no ABI with seccomp filters"),
    "a mask where there is none": (f"{OPENAT}{{operation: Equal, mask: 1}}\n", 8, ""),
}


@pytest.mark.parametrize("case", MARKED)
def test_it_marks(editor: LanguageServer, case: str) -> None:
    text, line, message = MARKED[case]
    found = editor.problems(text)
    assert any(where == line and message in told for where, told in found), found


def test_no_message_lists_all_calls(editor: LanguageServer) -> None:
    for text, _, _ in MARKED.values():
        assert all(len(told) < 200 for _, told in editor.problems(text))


def test_it_explains(editor: LanguageServer) -> None:
    assert "The call fails with EACCES." in editor.hover(
        f"{MODELINE}default_action: errno(EA{CARET}CCES)\n"
    )
    assert "int dfd" in editor.hover(f"{RULE}names: [open{CARET}at]\n")
    assert stock_groups()["basic-io"].promise in editor.hover(
        f"{RULE}names: ['@basic{CARET}-io']\n"
    )
    assert "The rules:" in editor.hover(f"{MODELINE}sysc{CARET}alls: []\n")


def test_good_policies_have_no_mark(
    editor: LanguageServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = tmp_path_factory.mktemp("all")
    for kind in ("no_exec", "no_network", "compute_only", "web_worker"):
        assert inside("init", "--policy", kind, cwd=project).code == 0
    policies = [*(project / "seccomp").glob("*.yml"), *(project / "seccomp").glob("stock/*.yml")]
    assert len(policies) == 8
    for path in policies:
        text = path.read_text()
        text = text if text.startswith(MODELINE) else MODELINE + text
        assert editor.problems(text) == [], path.name
