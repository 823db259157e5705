"""Choose the source, fetch files from it, and compare them with the expected hashes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from seccompgen.core.errors import AnswerNo, Diagnostic, InputError, OutsideError, Position
from seccompgen.core.tables import UpstreamFile, release
from seccompgen.kernel.fetch import store
from seccompgen.kernel.fetch.local import read_directory, read_tag, read_tarball
from seccompgen.kernel.fetch.shown import shown_url, without_credentials
from seccompgen.kernel.fetch.web import download, is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

DEFAULT_SOURCES: tuple[str, ...] = (
    "https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git/plain/{path}?h={tag}",
    "https://raw.githubusercontent.com/gregkh/linux/{tag}/{path}",
)
"""The public sources, in the order in which they are tried; both have mainline and stable tags."""

_TARBALLS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")


def fetch(
    spec: str | None,
    tag: str,
    paths: Sequence[str],
    *,
    expected: Mapping[str, UpstreamFile] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
) -> dict[str, bytes]:
    """Return the content of those of ``paths`` that the source has, sorted by path.

    ``spec`` is a URL with ``{tag}`` and ``{path}``, a kernel checkout, or a release tarball; None
    means the public sources. Paths of ``expected`` are fetched as well, and must exist with the
    size and hash that it states. ``progress`` is called with (files answered, files requested).
    ``cache`` is a directory for downloaded files; without ``spec``, expected files are taken from
    there if possible.

    Raises InputError if ``spec`` is no source or holds another release, AnswerNo if content is not
    as expected, and OutsideError if a source fails or lacks an expected file.
    """
    release(tag)
    expected = expected or {}
    wanted = sorted({*paths, *expected})
    for path in wanted:
        if path.startswith("/") or ".." in path.split("/"):
            raise InputError(f"{path!r} is no path inside a kernel tree")
    if spec is not None and "://" not in spec:
        found = _read_local(spec, tag, wanted, progress)
        _require(found, expected, spec)
    else:
        templates = DEFAULT_SOURCES if spec is None else (_checked_template(spec),)
        cached = {}
        if spec is None and cache:
            cached = store.load(cache, expected.values())
        found = _first_that_serves(templates, tag, wanted, cached, expected, progress)
    _verify(found, expected)
    if cache:
        store.save(cache, found.values())
    return {path: found[path] for path in sorted(found)}


def _checked_template(spec: str) -> str:
    advice = "write it like https://example.org/linux/{tag}/{path}"
    shown = shown_url(spec)
    if "{path}" not in spec:
        raise InputError(f"the source {shown!r} does not contain {{path}}; {advice}")
    try:
        parts = urlsplit(spec)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        reason = without_credentials(str(error))
        raise InputError(f"the source {shown!r} is no URL ({reason}); {advice}") from None
    if not host or "{" in host:
        raise InputError(f"the source {shown!r} names no host; {advice}")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise InputError(f"the source {shown!r} is not https, so anybody could answer; {advice}")
    return spec


def _read_local(
    spec: str, tag: str, paths: Sequence[str], progress: Callable[[int, int], None] | None
) -> dict[str, bytes]:
    root = Path(spec.replace("{tag}", tag))
    with contextlib.suppress(RuntimeError):  # "~nobody" is then a name like others
        root = root.expanduser()
    if root.is_dir():
        if tagged := read_tag(root, tag, paths, progress):
            return tagged
        return read_directory(root, tag, paths, progress)
    if not root.exists():
        raise InputError(f"the source {shown_url(str(root))!r} does not exist")
    if not root.name.endswith(_TARBALLS):
        endings = " ".join(_TARBALLS)
        raise InputError(f"the source {str(root)!r} is no directory and none of {endings}")
    return read_tarball(root, tag, paths, progress)


def _first_that_serves(
    templates: Sequence[str],
    tag: str,
    wanted: Sequence[str],
    cached: Mapping[str, bytes],
    expected: Mapping[str, UpstreamFile],
    progress: Callable[[int, int], None] | None,
) -> dict[str, bytes]:
    """Return the files of the first source that answers all requests with all expected files."""
    missing = [path for path in wanted if path not in cached]
    failures: list[Diagnostic] = []
    for template in templates if missing else ():
        urls, shown = (
            {path: form.replace("{tag}", tag).replace("{path}", path) for path in missing}
            for form in (template, shown_url(template))
        )

        def tell(done: int, _total: int) -> None:
            if progress:
                progress(len(cached) + done, len(wanted))

        try:
            found = {**cached, **download(urls, tell, shown)}
            if not found:
                message = "not found, nor any other file: does this source have"
                raise OutsideError(f"{shown[missing[0]]}: {message} {tag}?")
            _require(found, expected, shown_url(template))
        except OutsideError as error:
            failures.extend(error.diagnostics)
        else:
            return found
    if failures:
        raise OutsideError(*failures)
    return dict(cached)


def _require(found: Mapping[str, bytes], expected: Iterable[str], source: str) -> None:
    lacking = [path for path in expected if path not in found]
    if lacking:
        raise OutsideError(
            *(
                Diagnostic(f"the lock names this file, and {source} lacks it", Position(path))
                for path in lacking
            )
        )


def _verify(found: Mapping[str, bytes], expected: Mapping[str, UpstreamFile]) -> None:
    """Raise AnswerNo, which names every file that differs, if content is not as expected."""
    differing = []
    for path, wanted in sorted(expected.items()):
        actual = UpstreamFile.of(path, found[path])
        if actual != wanted:
            message = (
                f"the content is not what the lock says: expected {wanted.size} bytes with sha256"
                f" {wanted.sha256}, got {actual.size} bytes with sha256 {actual.sha256}"
            )
            differing.append(Diagnostic(message, Position(path)))
    if differing:
        raise AnswerNo(*differing)
