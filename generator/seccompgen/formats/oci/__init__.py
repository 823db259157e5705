"""Seccomp profiles of the OCI runtime specification and of Kubernetes, read and written."""

from seccompgen.formats.declaration import NEVER, Format

FORMAT = Format(
    title="[OCI, Docker, Podman, Kubernetes](#oci-docker-podman-kubernetes), their operator's "
    "objects",
    meaning="runc, crun or libseccomp",
    signs=(
        # A profile; the operator's object; the config.json of a bundle.
        r'(?i)"?defaultAction\\?"?\s*:\s*\\?"?SCMP_ACT_',
        r"(?m)^[ \t]*\"?kind\"?:\s*\"?SeccompProfile\b",
        r'"ociVersion"\s*:',
    ),
    names_abis=NEVER,  # runtimes filter the machine's own ABI, whatever a profile lists
    several=True,
)
