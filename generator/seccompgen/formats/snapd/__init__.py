"""snapd's policies: its templates, the snippets of its interfaces, and whole profiles of snaps."""

from seccompgen.formats.declaration import NEVER, Format

_VALUE = r"-?[A-Z0-9][A-Z0-9_]*"
_ARGUMENT = rf"(?:-|[ug]:[\w#.-]+|(?:[!|]|[<>]=?)?{_VALUE}(?:\|{_VALUE})?)"
_LINE = (
    r"[ \t]*(?:#.*|@(?:unrestricted|complain)"
    rf"|~?[a-z_][a-z0-9_]*(?:[ \t]+{_ARGUMENT}){{0,6}})?[ \t]*\r?"
)
_OWN = (
    r"(?:#[ ]*(?:Description:|snap-seccomp version)|@(?:unrestricted|complain)[ \t]*\r?$"
    r"|~[a-z]|[a-z][a-z0-9_]*[ \t]+(?:-|[!<>|A-Z]|[ug]:))"
)

FORMAT = Format(
    title="[snapd](#snapd)'s templates and snippets",
    meaning="snap-seccomp",
    # All lines are in its grammar, and one of them is not just the name of a call.
    signs=(
        r"\A# snap-seccomp version information:",
        rf"(?m)\A(?=(?:.*\n)*?{_OWN})(?:{_LINE}(?:\n|\Z))*\Z",
    ),
    precedence=5,
    names_abis=NEVER,
)
