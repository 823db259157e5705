"""Objects of the Security Profiles Operator, which are read as `oci`."""

from seccompgen.formats.declaration import Format

FORMAT = Format(
    title="[objects of the Security Profiles Operator](#oci-docker-podman-kubernetes)",
    meaning="runc, crun or libseccomp",
)
