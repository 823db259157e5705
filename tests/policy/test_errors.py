"""Messages about policies that are wrong: every error, where it is, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from seccompgen.core.errors import InputError
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables

if TYPE_CHECKING:
    from pathlib import Path

    from seccompgen.core.errors import Diagnostic

TABLES = shipped_tables()
HEAD = "default_action: errno\narches: [x86_64]\n"


def shown(diagnostic: Diagnostic, directory: Path) -> str:
    """Return the text that a user reads, without the directory and the pin."""
    assert diagnostic.kind, diagnostic
    return str(diagnostic).replace(f"{directory}/", "").replace(TABLES.tag, "TAG")


def errors(directory: Path, text: str, name: str = "p.yml") -> list[str]:
    path = directory / name
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_policy(path, TABLES)
    return [shown(diagnostic, directory) for diagnostic in caught.value.diagnostics]


def notes(directory: Path, text: str) -> list[str]:
    path = directory / "p.yml"
    path.write_text(text)
    _, found = load_policy(path, TABLES)
    return [shown(diagnostic, directory) for diagnostic in found]


CASES = {
    "unknown call": (
        HEAD + "syscalls:\n- action: allow\n  names:\n  - read\n  -   opnat\n",
        ["p.yml:7:7: unknown system call 'opnat' (did you mean 'openat'?)"],
    ),
    "call of another ABI": (
        HEAD + "syscalls:\n- {action: allow, names: [cacheflush]}\n",
        [
            "p.yml:4:27: unknown system call 'cacheflush' on x86_64: Linux TAG has it on "
            "arm, arm_oabi, mips, mips64 and 12 more only"
        ],
    ),
    "unknown key": (
        HEAD + "syscals: []\nallow: [read]\n",
        [
            "p.yml:3:1: unknown key 'syscals' (did you mean 'syscalls'?)",
            "p.yml:4:1: unknown key 'allow'; known: description, arches, compat_arches, kernel, "
            "default_action, unknown_action, bad_arch_action, multiplexed, no_new_privs, "
            "flags, install_on_import, include, groups, syscalls, io_uring",
        ],
    ),
    "no default": (
        "arches: [x86_64]\nsyscalls: [{action: allow, names: [read]}]\n",
        [
            "p.yml:1:1: 'default_action' is missing: say what happens to a call that no rule "
            "matches, such as errno or kill_process"
        ],
    ),
    "no rules": (
        HEAD,
        [
            "p.yml:1:1: 'syscalls' is missing, so the filter would do nothing of its own; to "
            "answer every call alike, write syscalls: []"
        ],
    ),
    "actions": (
        HEAD
        + "syscalls:\n- {action: errno(4096), names: [read]}\n- {action: allow(1), names: [a]}\n"
        "- {action: trap(65536), names: [b]}\n- {action: errno(EACESS), names: [c]}\n"
        "- {action: kill, names: [d]}\n- {action: trace(x), names: [e]}\n- {names: [f]}\n"
        "- {action: [allow], names: [f]}\n",
        [
            "p.yml:4:12: errno(4096): the kernel delivers 0 to 4095 here",
            "p.yml:5:12: allow takes no data; only errno, trap and trace do",
            "p.yml:6:12: trap(65536): the kernel delivers 0 to 65535 here",
            "p.yml:7:12: unknown errno 'EACESS' (did you mean 'EACCES'?); write a name such as "
            "EACCES or a number",
            "p.yml:8:12: unknown action 'kill'; known: kill_process, kill_thread, trap, errno, "
            "user_notif, trace, log, allow",
            "p.yml:9:12: trace(x): the data must be a number, as in trace(1)",
            "p.yml:10:3: 'action' is missing",
            "p.yml:11:12: ['allow'] is not an action; write allow, errno(EACCES), kill_process ...",
        ],
    ),
    "arguments": (
        HEAD + "syscalls:\n- action: allow\n  names_with_args:\n  - name: read\n    arguments:\n"
        "    - {argument: 6, operation: Equal}\n    - {operation: Same, value: 1}\n"
        "    - {operation: Equal, value: 0x10000000000000000}\n    - {value: 1}\n"
        "    - {operation: Equal, width: 16}\n  - name: write\n    arguments: []\n",
        [
            "p.yml:8:18: 'argument' must be 0 to 5, not 6",
            "p.yml:9:19: unknown operation 'Same'; known: Equal, NotEqual, GreaterThan, "
            "LessThan, GreaterOrEqual, LessOrEqual, BitsSet, BitsNotSet, MaskedEqual",
            "p.yml:10:33: 'value' must be -2**63 to 2**64-1, not 18446744073709551616",
            "p.yml:11:7: 'operation' is missing",
            "p.yml:12:33: 'width' must be 32 or 64, not 16",
            "p.yml:14:16: 'arguments' must not be empty",
        ],
    ),
    "masks and widths": (
        HEAD + "syscalls:\n- action: allow\n  names_with_args:\n  - name: read\n    arguments:\n"
        "    - {operation: MaskedEqual, value: 1}\n    - {operation: Equal, mask: 1}\n"
        "    - {operation: Equal, value: 0x100000000, width: 32}\n",
        [
            "p.yml:8:7: MaskedEqual needs a mask: (arg & mask) == value",
            "p.yml:9:7: only MaskedEqual takes a mask",
            "p.yml:10:7: value 0x100000000 does not fit into a width of 32 bits",
        ],
    ),
    "architectures": (
        "default_action: errno\narches: [x86_65, sparc64, s390, amd64, x86_64]\n"
        "compat_arches: [arm]\nsyscalls: [{action: allow, names: [read]}]\n",
        [
            "p.yml:2:10: unknown architecture 'x86_65' (did you mean 'x86_64'?)",
            "p.yml:2:18: Linux has no seccomp filters on sparc64",
            "p.yml:2:40: x86_64 is listed twice",
            "p.yml:3:17: no kernel serves arm beside x86_64; list it in 'arches' if it shall "
            "have a program of its own",
        ],
    ),
    "flags": (
        HEAD + "flags: [tsync, new_listner]\nsyscalls: [{action: allow, names: [read]}]\n",
        ["p.yml:3:16: unknown flag 'new_listner' (did you mean 'new_listener'?)"],
    ),
    "flags that exclude each other": (
        HEAD + "flags: [tsync, new_listener]\nsyscalls: [{action: allow, names: [read]}]\n",
        [
            "p.yml:3:8: tsync with new_listener needs tsync_esrch as well: the call can return "
            "only one of a thread and a descriptor"
        ],
    ),
    "a flag that needs another": (
        HEAD + "flags: [wait_killable_recv]\nsyscalls: [{action: allow, names: [read]}]\n",
        ["p.yml:3:8: wait_killable_recv needs new_listener"],
    ),
    "user_notif without a listener": (
        HEAD + "syscalls: [{action: user_notif, names: [read]}]\n",
        [
            "p.yml:3:41: user_notif needs the flag new_listener: without a listener every such "
            "call fails with ENOSYS"
        ],
    ),
    "hidden by one": (
        HEAD + "syscalls:\n- {action: allow, names: [read, write]}\n"
        "- {action: kill_process, names: [write]}\n",
        [
            "p.yml:5:34: this rule for 'write' can never match: allow at p.yml:4:33 comes first "
            "and answers all of it"
        ],
    ),
    "hidden by several together": (
        HEAD + "syscalls:\n- action: allow\n  names_with_args:\n"
        "  - {name: read, arguments: [{operation: LessThan, value: 5}]}\n"
        "  - {name: read, arguments: [{operation: GreaterThan, value: 3}]}\n"
        "- {action: trap, names: [read]}\n",
        [
            "p.yml:8:26: this rule for 'read' can never match: allow at p.yml:6:12, allow at "
            "p.yml:7:12 comes first and answers all of it"
        ],
    ),
    "never true": (
        HEAD + "syscalls:\n- action: allow\n  names_with_args:\n"
        "  - name: read\n    arguments:\n    - {operation: Equal, value: 5}\n"
        "    - {operation: Equal, value: 6}\n",
        ["p.yml:6:11: this rule for 'read' can never match: arg0 == 5 and arg0 == 6 is never true"],
    ),
    "never true where arguments have 32 bits": (
        "default_action: errno\narches: [i386, ppc]\nsyscalls:\n- action: allow\n"
        "  names_with_args:\n"
        "  - {name: read, arguments: [{operation: GreaterThan, value: 0xFFFFFFFF, width: 64}]}\n"
        "  - {name: write, arguments: [{operation: LessOrEqual, value: 0xFFFFFFFF, width: 64}]}\n"
        "  - {name: write, arguments: [{operation: Equal, value: 0x500000000, width: 64}]}\n",
        [
            "p.yml:6:12: this rule for 'read' can never match: u64(arg0) > 0xffffffff is never "
            "true where arguments have 32 bits",
            "p.yml:8:12: this rule for 'write' can never match: u64(arg0) == 0x500000000 is never "
            "true "
            "where arguments have 32 bits",
        ],
    ),
    "hidden where arguments have 32 bits": (
        "default_action: errno\narches: [i386]\nsyscalls:\n- action: allow\n"
        "  names_with_args:\n"
        "  - {name: read, arguments: [{operation: LessThan, value: 0x100000000, width: 64}]}\n"
        "- {action: trap, names: [read]}\n",
        [
            "p.yml:7:26: this rule for 'read' can never match: allow at p.yml:6:12 comes first "
            "and answers all of it where arguments have 32 bits"
        ],
    ),
    "hidden on one ABI, and never true on the other": (
        "default_action: errno\narches: [i386, x86_64]\nsyscalls:\n- action: allow\n"
        "  names_with_args:\n"
        "  - {name: read, arguments: [{operation: GreaterThan, value: 5, width: 64}]}\n"
        "- action: trap\n  names_with_args:\n"
        "  - {name: read, arguments: [{operation: Equal, value: 0x100000000, width: 64}]}\n",
        [
            "p.yml:9:12: this rule for 'read' where u64(arg0) == 0x100000000 can never match: "
            "allow at "
            "p.yml:6:12 comes first and answers all of it"
        ],
    ),
    "duplicate key": (
        HEAD + "arches: [i386]\n",
        ["p.yml:3:1: duplicate key 'arches', first on line 2"],
    ),
    "octal": (
        HEAD + "syscalls:\n- action: allow\n  names_with_args:\n"
        "  - {name: read, arguments: [{operation: Equal, value: 0755}]}\n",
        ["p.yml:6:56: 0755 is octal to some YAML readers: write 0o755 or 755"],
    ),
    "a tag": (
        HEAD + "syscalls: !!python/object:os.system []\n",
        ["p.yml:3:11: tag tag:yaml.org,2002:python/object:os.system is not allowed"],
    ),
    "beside the section": (
        "seccomp: {default_action: allow}\nother: 1\n",
        [
            "p.yml:2:1: 'other' is outside 'seccomp:', so it would be ignored; move it into "
            "that section"
        ],
    ),
    "no mapping": (
        "- 1\n",
        [
            "p.yml:1:1: a policy is a mapping with default_action and syscalls",
            "p.yml: nothing here shows a format of policies; if it is one of seccompgen, "
            "android, audit, firejail, flatpak, kafel, lxc, minijail, oci, seccompiler, snapd, "
            "strace, systemd, say so with --from",
        ],
    ),
    "empty": ("", ["p.yml:1:1: the file is empty"]),
    "group without names": (
        HEAD + "syscalls:\n- action: allow\n",
        ["p.yml:4:3: the group names no system call: fill names or names_with_args"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_error_is_named_with_its_place(tmp_path: Path, case: str) -> None:
    text, expected = CASES[case]
    assert errors(tmp_path, text) == expected


def test_json_and_toml_have_positions(tmp_path: Path) -> None:
    json = (
        '{\n  "default_action": "errno",\n  "arches": ["x86_64"],\n  "syscalls":\n'
        '    [{"action": "allow", "names": ["opnat"]}]\n}\n'
    )
    assert errors(tmp_path, json, "p.json") == [
        "p.json:5:36: unknown system call 'opnat' (did you mean 'openat'?)"
    ]
    toml = (
        'default_action = "errno"\narches = ["x86_64"]\n\n[[syscalls]]\naction = "allow"\n'
        'names = ["read"]\n[[syscalls]]\naction = "allw"\nnames = ["opnat"]\n'
    )
    assert errors(tmp_path, toml, "p.toml") == [
        "p.toml:8:10: unknown action 'allw' (did you mean 'allow'?)"
    ]
    assert errors(tmp_path, toml.replace("allw", "allow"), "p.toml") == [
        "p.toml:9:9: unknown system call 'opnat' (did you mean 'openat'?)"
    ]


def test_errors_of_included_files_are_at_their_own_place(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("syscalls:\n- {action: allow, names: [reed]}\n")
    main = HEAD + "include: [base.yml, gone.yml]\nsyscalls: [{action: allow, names: [write]}]\n"
    assert errors(tmp_path, main) == ["p.yml:3:21: cannot read gone.yml: No such file or directory"]
    main = main.replace(", gone.yml", "")
    assert errors(tmp_path, main) == [
        "base.yml:2:27: unknown system call 'reed' (did you mean 'read'?)"
    ]


def test_a_circle_of_includes_ends(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("include: [p.yml]\nsyscalls: []\n")
    assert errors(tmp_path, HEAD + "include: [base.yml]\n") == [
        "base.yml:1:11: a circle of includes: p.yml includes base.yml includes p.yml"
    ]


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loop.yml").symlink_to(tmp_path / "loop.yml")
    assert errors(tmp_path, HEAD + "include: [loop.yml]\n") == [
        "p.yml:3:11: cannot read loop.yml: Too many levels of symbolic links"
    ]


def test_an_included_rule_comes_first(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("syscalls:\n- {action: trap, names: [read]}\n")
    main = HEAD + "include: [base.yml]\nsyscalls: [{action: allow, names: [read]}]\n"
    assert errors(tmp_path, main) == [
        "p.yml:4:36: this rule for 'read' can never match: trap at base.yml:2:26 comes first "
        "and answers all of it"
    ]


def test_settings_of_the_including_file_count(tmp_path: Path) -> None:
    base = (
        "default_action: trap\nno_new_privs: false\nsyscalls:\n- {action: allow, names: [read]}\n"
    )
    (tmp_path / "base.yml").write_text(base)
    (tmp_path / "p.yml").write_text(HEAD + "include: [base.yml]\n")
    policy, _ = load_policy(tmp_path / "p.yml", TABLES)
    assert str(policy.default_action) == "errno(1)"
    assert policy.no_new_privs is False
    assert [rule.name for rule in policy.rules] == ["read"]
    assert [file for file, _ in policy.sources] == [
        str(tmp_path / "base.yml"),
        str(tmp_path / "p.yml"),
    ]


def test_what_some_abis_lack_is_a_note(tmp_path: Path) -> None:
    text = (
        "default_action: errno\narches: [x86_64, aarch64]\nsyscalls:\n"
        "- {action: allow, names: [read, open]}\n"
    )
    assert notes(tmp_path, text) == ["p.yml:4:33: 'open' does not exist on aarch64: skipped there"]
    optional = text.replace("names: [read, open]", "names: [read, open, nosuch], optional: true")
    assert notes(tmp_path, optional) == []


def test_what_is_never_true_on_some_abis_is_a_note(tmp_path: Path) -> None:
    text = (
        "default_action: errno\narches: [x86_64, i386, arm, ppc]\nsyscalls:\n- action: allow\n"
        "  names_with_args:\n"
        "  - {name: read, arguments: [{operation: Equal, value: 0xffffffffffffff9c, width: 64}]}\n"
    )
    assert notes(tmp_path, text) == [
        "p.yml:6:12: u64(arg0) == 0xffffffffffffff9c is never true on i386, ppc, where arguments "
        "have 32 bits: this rule for 'read' is skipped there"
    ]
    assert notes(tmp_path, text.replace("action: allow", "action: allow\n  optional: true")) == []
    assert notes(tmp_path, text.replace("Equal", "NotEqual")) == []


def test_an_abi_of_other_tags_is_left_out_with_a_note(tmp_path: Path) -> None:
    text = (
        "default_action: errno\narches: [s390x, s390]\nsyscalls: [{action: allow, names: [read]}]\n"
    )
    assert notes(tmp_path, text) == ["p.yml:2:17: Linux TAG has no s390: left out"]
    alone = text.replace("s390x, ", "")
    assert errors(tmp_path, alone) == ["p.yml:2:10: Linux TAG has no s390: left out"]


def test_a_repeated_rule_is_a_note(tmp_path: Path) -> None:
    text = HEAD + "syscalls:\n- {action: allow, names: [read]}\n"
    again = "- {action: allow, names: [read, write]}\n"
    assert notes(tmp_path, text + again) == ["p.yml:5:27: 'read' repeats p.yml:4:27"]
    idle = "- {action: allow, names: [read]}\n"
    assert notes(tmp_path, text + idle) == ["p.yml:5:27: 'read' repeats p.yml:4:27"]
    part = "- {action: allow, names: [read], when: fd == 3}\n"
    assert notes(tmp_path, text + part) == ["p.yml:5:27: 'read' repeats p.yml:4:27"]


@pytest.mark.few(3, "reads many policies")
@pytest.mark.parametrize("bomb", [
    "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    ),
    "a: &a [*a]\n",
    "[" * 5000,
    "a: " + "[" * 60 + "]" * 60,
])  # fmt: skip
def test_a_bomb_is_an_error(tmp_path: Path, bomb: str) -> None:
    (found,) = errors(tmp_path, bomb)
    assert "too" in found


@pytest.mark.parametrize("name", ["a.yml", "a.json"])
def test_a_letter_that_no_yaml_has_is_an_error_at_its_place(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b'{"arches": ["x86_64"],\n "default_action": "al\x00low"}\n')
    with pytest.raises(InputError) as caught:
        load_policy(tmp_path / name, shipped_tables())
    (one,) = caught.value.diagnostics
    assert str(one.position).endswith(f"{name}:2:23")


def test_included_files_may_refuse_the_same(tmp_path: Path) -> None:
    """Each holds without the others; what one of them permits or kills is said as ever."""
    one = HEAD + "syscalls:\n- {action: errno(EACCES), names: [read, '@keyring']}\n"
    (tmp_path / "one.yml").write_text(one)
    other = tmp_path / "other.yml"
    both = "include: [one.yml, other.yml]\n" + HEAD + "syscalls: []\n"
    rules = "syscalls:\n- {action: errno(EPERM), names: [read, '@keyring']}\n"
    other.write_text(HEAD + rules)
    assert notes(tmp_path, both) == []
    other.write_text(HEAD + rules.replace("errno(EPERM)", "kill_process"))
    assert len(errors(tmp_path, both)) == 2
    # In the file itself it is a mistake.
    own = "include: [one.yml]\n" + HEAD + rules
    assert len(errors(tmp_path, own)) == 2
    assert len(notes(tmp_path, own.replace("EPERM", "EACCES"))) == 2
    other.write_text(HEAD + rules + rules.removeprefix("syscalls:\n"))
    (tmp_path / "one.yml").write_text(HEAD + "syscalls: []\n")
    assert len(notes(tmp_path, both)) == 2
