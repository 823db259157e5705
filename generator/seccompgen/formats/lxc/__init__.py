"""LXC's profiles, versions 1 and 2; Incus and LXD write such files for their containers."""

from seccompgen.formats.declaration import NEVER, Format

FORMAT = Format(
    title="[LXC](#lxc)'s profiles, also as Incus writes them",
    meaning="liblxc",
    # LXC refuses comments above these two lines; such a file gets LXC's error.
    signs=(
        r"\A(?:\s|#.*\n)*\+?0*[12]\s(?:\s|#.*\n)*.*(?:allow|deny|white|black)list",
        r"\A\s*\+?0*[12](?:allow|deny|white|black)list",
    ),
    names_abis=NEVER,
)
