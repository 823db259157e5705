"""The wheel's list of its contents (PEP 770), as a build hook of hatchling.

It is CycloneDX: our own packages with the hash of each file, and the Linux sources that the kernel
tables come from, with the hashes of the lock. There is no clock in it, so that who builds the same
tree gets the same wheel.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import tomllib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hatchling.builders.wheel import WheelBuilderConfig

NAME = "seccompgen.cdx.json"
LOCK = "seccompgen/kernel/kernel.lock.toml"
"""The lock of the tables, as the wheel has it."""
_LICENSE = [{"license": {"id": "Apache-2.0"}}]
_LINUX_LICENSE = [{"expression": "GPL-2.0-only WITH Linux-syscall-note"}]


class SbomHook(BuildHookInterface["WheelBuilderConfig"]):
    """Puts the SBOM into ``dist-info/sboms`` of each wheel but an editable one."""

    _place: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the SBOM of all that the wheel will have, outside the tree."""
        if version == "editable":
            return
        project = self.metadata.core
        config: WheelBuilderConfig = self.build_config
        builder, shared = config.builder, config.shared_data
        files = {
            one.distribution_path: Path(one.path).read_bytes()
            for found in (builder.recurse_included_files(), builder.recurse_explicit_files(shared))
            for one in found
        }
        self._place = Path(tempfile.mkdtemp())
        listed = sbom(project.raw_name, self.metadata.version, project.description, files)
        (self._place / NAME).write_bytes(listed)
        build_data["sbom_files"].append(str(self._place / NAME))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the file that the wheel has a copy of."""
        del version, build_data, artifact_path
        if self._place:
            shutil.rmtree(self._place)


def sbom(name: str, version: str, description: str, files: Mapping[str, bytes]) -> bytes:
    """Return the SBOM of a wheel with these ``files``, by where they are when it is installed."""
    packages = sorted({path.partition("/")[0] for path in files})
    components = [
        {
            "type": "library",
            "bom-ref": package,
            "name": package,
            "version": version,
            "licenses": _LICENSE,
            "components": [
                _file(path, hashlib.sha256(files[path]).hexdigest())
                for path in sorted(files)
                if path.startswith(f"{package}/")
            ],
        }
        for package in packages
    ]
    components.append(_linux(tomllib.loads(files[LOCK].decode())))
    root = f"pkg:pypi/{name}@{version}"
    whole = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # The same contents have the same number, as a clock or a random one would not.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components))}",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": name,
                "version": version,
                "description": description,
                "purl": root,
                "licenses": _LICENSE,
            },
        },
        "components": components,
        "dependencies": [
            {"ref": root, "dependsOn": packages},
            {"ref": "seccompgen", "dependsOn": ["linux"]},
            {"ref": "seccomp_filters", "dependsOn": ["linux"]},
        ],
    }
    return (json.dumps(whole, indent=1) + "\n").encode()


def _linux(lock: Mapping[str, Any]) -> dict[str, Any]:
    """Return Linux at the pin: its files, from which numbers, constants and prototypes come."""
    tag = lock["tag"]
    files = [*lock["files"], *lock["facts"]["files"]]
    hashes = {file["path"]: file["sha256"] for file in files}
    return {
        "type": "data",
        "bom-ref": "linux",
        "name": "linux",
        "version": tag,
        "description": "System call numbers, constants and prototypes, read from these files; "
        "the files themselves are not in the wheel.",
        "licenses": _LINUX_LICENSE,
        "purl": f"pkg:generic/linux@{tag}",
        "externalReferences": [{"type": "vcs", "url": "https://git.kernel.org/"}],
        "components": [_file(path, hashes[path]) for path in sorted(hashes)],
    }


def _file(path: str, sha256: str) -> dict[str, Any]:
    return {"type": "file", "name": path, "hashes": [{"alg": "SHA-256", "content": sha256}]}
