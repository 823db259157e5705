"""Policies of minijail, read and written."""

from seccompgen.formats.declaration import NEVER, Format

FORMAT = Format(
    title="[minijail](#minijail)",
    meaning="compile_seccomp_policy.py",
    signs=(
        # A statement, in a text without the keys that each of our policies has, or should have.
        r"(?m)\A(?![\s\S]*(?:^|[{,])(?:[ \t]|- )*[\"']?"
        r"(syscalls|default_?[aA]ction|action|names?)[\"']?[ \t]*:)"
        r"[\s\S]*?^[ \t]*"
        r"(@(include|frequency|denylist|default)\b"
        r"|(\w+|\{[\w, \t\[\]=;]+\})(\[[^\]\n]*\])?[ \t]*:[ \t]*\{?[ \t]*(\\\r?\n[ \t]*)?"
        r"(1[ \t]*(#[^\n]*)?$|return[ \t]+-?\w+|!\(|arg\w+[ \t]"
        r"|(allow|kill|kill-process|kill-thread|trap|trace|log|user-notify)"
        r"[ \t]*(#[^\n]*)?$))",
    ),
    precedence=3,
    names_abis=NEVER,
)
