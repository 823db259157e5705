"""Profiles of firejail."""

from seccompgen.formats.declaration import NEVER, Format

FORMAT = Format(
    title="[firejail](#firejail)'s profiles",
    meaning="firejail 0.9.74",
    signs=(
        r"(?m)^[ \t]*(?:"
        r"(?:seccomp(?:\.32)?(?:\.drop|\.keep)?|seccomp-error-action)[ \t]+[\w@!$][^:\n]*+$"
        r"|seccomp\.block-secondary|memory-deny-write-execute"
        r"|restrict-namespaces(?:[ \t]+[a-z]\S*)?"
        r"|protocol[ \t]+(?:unix|inet6?|netlink|packet|bluetooth)\S*"
        r"|caps\.(?:drop|keep)[ \t]+\S+|include[ \t]+\S+\.(?:inc|local|profile)"
        r"|(?:no)?(?:black|white)list[ \t]+[/~$]\S*|ignore[ \t]+[a-z]\S*(?:[ \t]\S+)?"
        r"|noroot|nonewprivs|nogroups|private-(?:dev|tmp|cache|etc[ \t].*|bin[ \t].*)"
        r")[ \t]*(?:#.*)?\r?$",
    ),
    precedence=4,
    names_abis=NEVER,
)
