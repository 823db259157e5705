"""Read a container image: a saved one, an OCI layout, a bundle, or a plain root file system.

Sources: the OCI image specification (image-layout.md, manifest.md, config.md, layer.md), Docker's
image specification v1.2 for the older form of ``docker save``.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.io.reading import read_input
from seccompgen.scan.inside import file_inside, located
from seccompgen.scan.layers import UnpackBudget, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_LAYERS = 1000
_MOST_INDEXES = 10
_ATTESTATION = "unknown"
"""The architecture of BuildKit's attestations, which are no images."""
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class ContainerImage:
    """An image that was unpacked below ``root``.

    ``command`` is its entry point with the arguments, empty if it has none; ``search`` are the
    directories of PATH, ``directory`` the one in which it is started.
    """

    root: Path
    command: tuple[str, ...] = ()
    search: tuple[str, ...] = tuple(_DEFAULT_PATH.split(":"))
    directory: str = "/"


@contextlib.contextmanager
def opened_image(path: Path) -> Iterator[ContainerImage]:
    """Give the image in the directory or archive ``path``; archives are unpacked meanwhile.

    Raises InputError if it is no image, or if it is broken or malicious.
    """
    with tempfile.TemporaryDirectory(prefix="seccompgen-") as name:
        unpacked = Path(name).resolve()
        budget = UnpackBudget()
        place = path
        if not path.is_dir():
            place = unpacked / "saved"
            place.mkdir()
            unpack(path, place, budget, whole=True)
        yield _image(_Files(place.resolve(), str(path)), unpacked / "root", budget)


class _Files:
    """The files of a saved image; errors name it as the user does."""

    def __init__(self, directory: Path, shown: str) -> None:
        self.directory = directory
        self.shown = shown

    def refuse(self, reason: str) -> InputError:
        return InputError(Diagnostic(reason, Position(self.shown)))

    def has(self, name: str) -> bool:
        return file_inside(self.directory, name) is not None

    def file(self, name: object) -> Path:
        found = file_inside(self.directory, name) if isinstance(name, str) else None
        if found is None:
            raise self.refuse(f"is a broken image: it has no file {name!r}")
        return found

    def blob(self, descriptor: Any) -> Path:
        """Return the file of a descriptor; its digest is its name."""
        digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise self.refuse(f"is a broken image: {digest!r} is no sha256 digest")
        return self.file(f"blobs/{digest.replace(':', '/')}")

    def document(self, file: Path) -> Any:
        """Return the object or list in a JSON file."""
        try:
            found = json.loads(read_input(file))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict | list):
            name = file.relative_to(self.directory)
            raise self.refuse(f"is a broken image: {name} is no JSON object")
        return found


def _image(files: _Files, root: Path, budget: UnpackBudget) -> ContainerImage:
    """Return the image of ``files``, whose layers are unpacked into ``root``."""
    if files.has("manifest.json"):
        config, layers = _of_docker(files)
    elif files.has("index.json"):
        config, layers = _of_layout(files)
    elif files.has("config.json") and located(files.directory, "rootfs"):
        return _bundle(files)
    else:
        return ContainerImage(files.directory)
    if len(layers) > _MOST_LAYERS:
        raise files.refuse(f"has {len(layers)} layers, and no more than {_MOST_LAYERS} are read")
    root.mkdir()
    for layer in layers:
        unpack(layer, root, budget, whole=False)
    return _configured(files, root, _object(config.get("config")), "Env", "WorkingDir")


def _of_docker(files: _Files) -> tuple[dict[str, Any], list[Path]]:
    """Return config and layers of what ``docker save`` wrote."""
    images = files.document(files.file("manifest.json"))
    one = _the_only(files, images if isinstance(images, list) else [])
    config = _object(files.document(files.file(one.get("Config"))))
    return config, [files.file(name) for name in _list(one.get("Layers"))]


def _of_layout(files: _Files) -> tuple[dict[str, Any], list[Path]]:
    """Return config and layers of an OCI image layout."""
    waiting = [files.document(files.file("index.json"))]
    manifests: list[Any] = []
    for i, index in enumerate(waiting):  # the list grows meanwhile
        if i > _MOST_INDEXES:
            raise files.refuse(f"has more than {_MOST_INDEXES} indexes")
        for descriptor in _list(_object(index).get("manifests")):
            platform = _object(_object(descriptor).get("platform"))
            if platform.get("architecture") == _ATTESTATION:
                continue
            found = _object(files.document(files.blob(descriptor)))
            (waiting if "manifests" in found else manifests).append(found)
    one = _the_only(files, manifests)
    config = _object(files.document(files.blob(one.get("config"))))
    return config, [files.blob(layer) for layer in _list(one.get("layers"))]


def _the_only(files: _Files, images: Sequence[Any]) -> dict[str, Any]:
    if len(images) != 1:
        raise files.refuse(f"has {len(images)} images: save one, for one platform")
    return _object(images[0])


def _bundle(files: _Files) -> ContainerImage:
    """Return the image of an OCI bundle: config.json and rootfs."""
    process = _object(_object(files.document(files.file("config.json"))).get("process"))
    root = located(files.directory, "rootfs") or files.directory
    return _configured(files, root, {**process, "Cmd": process.get("args")}, "env", "cwd")


def _configured(
    files: _Files, root: Path, config: dict[str, Any], environment: str, directory: str
) -> ContainerImage:
    words = [*_list(config.get("Entrypoint")), *_list(config.get("Cmd"))]
    variables = _list(config.get(environment))
    if not all(isinstance(one, str) for one in (*words, *variables)):
        raise files.refuse("is a broken image: its command or environment has no strings")
    paths = [one.removeprefix("PATH=") for one in variables if one.startswith("PATH=")]
    search = (paths or [_DEFAULT_PATH])[-1]
    place = config.get(directory)
    return ContainerImage(
        *(root, tuple(words), tuple(filter(None, search.split(":")))),
        place if isinstance(place, str) and place else "/",
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
