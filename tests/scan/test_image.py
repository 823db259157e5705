"""Container images: what they start is found in them, and nothing outside is read or written."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from c_programs import HEAD, compiled
from command import inside
from seccompgen.core.errors import InputError
from seccompgen.formats import load_policy
from seccompgen.pipeline.build import shipped_tables
from seccompgen.scan import layers
from seccompgen.scan.inside import located
from seccompgen.scan.saved_image import opened_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs are written for x86_64"
)

RUNTIME = {
    *("execve", "close", "close_range", "openat", "write", "fcntl", "fstatfs", "getdents64"),
    *("epoll_ctl", "getpid", "futex", "nanosleep", "rt_sigreturn", "exit_group"),
}
ENDS = {"exit", "restart_syscall"}
Link = tuple[str, str]
"""``symlink`` or ``hardlink``, and the target."""


def program(directory: Path, *numbers: int) -> bytes:
    """Return a static program that makes the calls of these numbers."""
    calls = "".join(f"enter({number}, 0, 0, 0); " for number in numbers)
    text = f"void _start(void) {{ {calls}enter(60, 0, 0, 0); __builtin_unreachable(); }}"
    return compiled(directory, text).read_bytes()


def layer(entries: Mapping[str, bytes | Link | None], mode: int = 0o755) -> bytes:
    """Return an archive of files, links, and directories (None)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.mode = mode
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, tuple):
                member.type = tarfile.SYMTYPE if content[0] == "symlink" else tarfile.LNKTYPE
                member.linkname = content[1]
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return made.getvalue()


def config(*command: str, **more: Any) -> dict[str, Any]:
    return {"architecture": "amd64", "config": {"Entrypoint": list(command), **more}}


def docker_saved(path: Path, settings: dict[str, Any], some: Sequence[bytes]) -> Path:
    """Write what ``docker save`` wrote before it wrote OCI layouts as well."""
    names = [f"{i}/layer.tar" for i in range(len(some))]
    manifest = [{"Config": "c.json", "RepoTags": ["a:b"], "Layers": names}]
    files = {"manifest.json": json.dumps(manifest), "c.json": json.dumps(settings)}
    contents = {name: text.encode() for name, text in files.items()}
    path.write_bytes(layer({**contents, **dict(zip(names, some, strict=True))}))
    return path


def layout(settings: dict[str, Any], some: Sequence[bytes]) -> dict[str, bytes]:
    """Return the files of an OCI layout with compressed layers and an attestation."""
    blobs: dict[str, bytes] = {}

    def descriptor(content: bytes, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"digest": f"sha256:{digest}", "size": len(content), **more}

    manifest = {
        "config": descriptor(json.dumps(settings).encode()),
        "layers": [descriptor(gzip.compress(one)) for one in some],
    }
    attestation = {"architecture": "unknown", "os": "unknown"}
    inner = {
        "manifests": [
            descriptor(json.dumps(manifest).encode()),
            descriptor(b"{}", platform=attestation),
        ]
    }
    index = {"manifests": [descriptor(json.dumps(inner).encode())]}
    return {"index.json": json.dumps(index).encode(), "oci-layout": b"{}", **blobs}


def laid_out(directory: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def scanned(path: Path, *options: str, code: int = 0) -> list[Any]:
    run = inside("scan", "--image", path.name, *options, "--json", cwd=path.parent)
    assert run.code == code, run.err
    found: list[Any] = json.loads(run.out)
    return found


def refused(path: Path, *options: str) -> str:
    run = inside("scan", "--image", path.name, *options, cwd=path.parent)
    assert (run.code, run.out) == (2, "")
    return run.err


FORMS = ["docker", "oci archive", "oci layout", "bundle", "root", "archive of a root"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_image_is_read(tmp_path: Path, form: str) -> None:
    files: dict[str, bytes | Link | None] = {"srv/server": program(tmp_path, 39)}
    settings, some = config("/srv/server"), [layer(files)]
    words: list[str] = []
    path = tmp_path / "image"
    if form == "docker":
        docker_saved(path, settings, some)
    elif form == "oci archive":
        path.write_bytes(gzip.compress(layer(layout(settings, some))))
    elif form == "oci layout":
        laid_out(path, layout(settings, some))
    elif form == "archive of a root":
        path.write_bytes(some[0])
        words = ["/srv/server"]
    else:
        root = path / "rootfs" if form == "bundle" else path
        laid_out(root, {"srv/server": program(tmp_path, 39)})
        (root / "srv/server").chmod(0o755)
        spec = {"process": {"args": ["/srv/server"], "env": ["PATH=/srv"], "cwd": "/"}}
        if form == "bundle":
            laid_out(path, {"config.json": json.dumps(spec).encode()})
        else:
            words = ["server"]
            (root / "bin").symlink_to("/srv")
    (found,) = scanned(path, *words)
    assert found["path"] == "/srv/server"
    assert [one["path"] for one in found["files"]] == ["/srv/server"]
    assert {*found["syscalls"]} == {"getpid", *ENDS}
    assert {*found["policy"]} == {"getpid", *ENDS, *RUNTIME}
    assert found["started"] == {"kind": "asked" if words else "entry", "source": ""}


def test_one_profile_has_all_that_is_started(tmp_path: Path) -> None:
    """An entry point that runs its arguments, a tool of its own, and one in another script."""
    entry = b'#!/bin/sh -e\nif [ "$1" ]; then setup --fast; fi\nexec "$@"\n'
    files: dict[str, bytes | Link | None] = {
        "bin/dash": program(tmp_path, 40),
        "bin/sh": ("symlink", "dash"),
        "usr/bin/env": program(tmp_path, 41),
        "entry.sh": entry,
        "opt/setup": b"#!/usr/bin/env -S LANG=C tool\n",
        "opt/tool": program(tmp_path, 42),
        "opt/server": program(tmp_path, 43),
        "opt/other": program(tmp_path, 44),
    }
    settings = config("/entry.sh", Cmd=["server"], Env=["PATH=/opt:/bin"])
    data = layer({"opt/if": program(tmp_path, 45)}, mode=0o644)  # no program: it has no mode for it
    path = docker_saved(tmp_path / "image.tar", settings, [layer(files), data])
    found = scanned(path, "-o", str(tmp_path / "image.yml"), "--format", "oci")
    assert {one["path"]: one["started"] for one in found} == {
        "/opt/server": {"kind": "word", "source": ""},
        "/bin/dash": {"kind": "interpreter", "source": "/entry.sh"},
        "/usr/bin/env": {"kind": "interpreter", "source": "/opt/setup"},
        "/opt/tool": {"kind": "interpreter", "source": "/opt/setup"},
    }
    policy, _ = load_policy(tmp_path / "image.yml", shipped_tables())
    wanted = {*ENDS, *RUNTIME, "sendfile", "socket", "connect", "accept"}
    assert {rule.name for rule in policy.rules} == wanted
    profile = json.loads((tmp_path / "image.x86_64.json").read_text())
    allowed = [rule for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"]
    assert {name for rule in allowed for name in rule["names"]} == wanted
    run = inside("scan", "--image", "image.tar", "other", cwd=tmp_path)
    assert run.out.splitlines()[:3] == [
        "/opt/other: named on the command line",
        "/opt/server: named in the entry point's command line",
        "/bin/dash: the interpreter of /entry.sh",
    ]


def test_layers_replace_and_hide_what_is_below(tmp_path: Path) -> None:
    below: dict[str, bytes | Link | None] = {
        "bin/a": program(tmp_path, 40),
        "bin/b": program(tmp_path, 41),
        "opt/c": program(tmp_path, 42),
        "opt/d/e": program(tmp_path, 43),
        "sbin": ("symlink", "/bin"),
    }
    above: dict[str, bytes | Link | None] = {
        "sbin/a": program(tmp_path, 44),
        "bin/.wh.b": b"",
        "opt/f": ("hardlink", "bin/a"),
        "opt/d/new": b"",
        "opt/.wh..wh..opq": b"",
        "bin/entry": b"#!/bin/a\n",
    }
    settings = config("/bin/entry")
    path = docker_saved(tmp_path / "image", settings, [layer(below), layer(above)])
    (found,) = scanned(path)
    assert {*found["syscalls"]} == {"sendto", *ENDS}
    for name in ("/bin/b", "/opt/c", "/opt/d/e"):
        assert refused(path, name) == f"the image has no program {name}\n"
    assert [one["path"] for one in scanned(path, "/opt/f")] == ["/opt/f", "/bin/a"]


def test_extension_modules_count_but_what_cannot_be_loaded(tmp_path: Path) -> None:
    """What a module exports can be called; one whose library the image lacks is left out."""
    flags = ("-O1", "-shared", "-fPIC")
    needed = compiled(tmp_path, "void other(void) { enter(45, 0, 0, 0); }", *flags)
    needed = needed.rename(tmp_path / "libother.so")
    module = compiled(tmp_path, "void PyInit(void) { enter(110, 0, 0, 0); }", *flags).read_bytes()
    (tmp_path / "m.c").write_text(HEAD + "void other(void); void PyInit(void) { other(); }")
    command = ["gcc", "-nostdlib", *flags, "-o", "m.so", "m.c", "-L.", "-lother"]
    subprocess.run(command, check=True, cwd=tmp_path)
    files: dict[str, bytes | Link | None] = {
        "usr/bin/python3.13": program(tmp_path, 39),
        "usr/bin/python3": ("symlink", "python3.13"),
        "usr/lib/python3.13/lib-dynload/one.so": module,
        "usr/lib/python3/dist-packages/two.so": (tmp_path / "m.so").read_bytes(),
        "usr/lib/python3/dist-packages/no.so": b"no program",
        "usr/lib/elsewhere/three.so": module,
    }
    settings = config("python3", "-m", "app")
    path = docker_saved(tmp_path / "image", settings, [layer(files)])
    (found,) = scanned(path)
    assert {*found["syscalls"]} == {"getpid", "getppid", *ENDS}
    run = inside("scan", "--image", "image", "-o", "p.yml", cwd=tmp_path)
    name = "/usr/lib/python3/dist-packages/two.so"
    assert f"note: {name} is left out: it needs libother.so, which the image lacks" in run.err
    assert f"#   {name} (libother.so)" in (tmp_path / "p.yml").read_text()
    files["usr/lib/libother.so"] = needed.read_bytes()
    (found,) = scanned(docker_saved(tmp_path / "image", settings, [layer(files)]))
    assert {*found["syscalls"]} == {"getpid", "getppid", "recvfrom", *ENDS}


def test_libraries_are_those_of_the_image(tmp_path: Path) -> None:
    """Though the machine has some of that name, where a link of the image leads on the machine."""
    (tmp_path / "program.c").write_text("int main(void) { return 0; }")
    subprocess.run(["gcc", "-o", "program", "program.c"], check=True, cwd=tmp_path)
    root = tmp_path / "image"
    for name in ("bin", "lib64", "lib"):
        (root / name).mkdir(parents=True)
    shutil.copy(tmp_path / "program", root / "bin/server")
    (root / "lib64/ld-linux-x86-64.so.2").symlink_to("/lib64/ld-linux-x86-64.so.2")
    (root / "lib/libc.so.6").symlink_to("/lib/x86_64-linux-gnu/libc.so.6")
    interpreter = "/lib64/ld-linux-x86-64.so.2"
    assert refused(root, "/bin/server") == (
        f"/bin/server: is started by {interpreter}, which is not found below its root directory\n"
    )
    run = inside("scan", "image/bin/server", "--root", "image", cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    (root / "lib64/ld-linux-x86-64.so.2").unlink()
    (root / "lib64/ld-linux-x86-64.so.2").symlink_to("../../../lib/ld.so")
    assert refused(root, "/bin/server") == (
        "lib64/ld-linux-x86-64.so.2: leads out of the root directory\n"
    )


def test_a_path_is_found_as_after_chroot(tmp_path: Path) -> None:
    root = tmp_path / "root"
    laid_out(root, {"a/file": b"", "b/c/other": b""})
    for name, target in {
        "absolute": "/a/file",
        "loop": "loop",
        "dangling": "/etc/passwd",
        "out": "a/../../outside",
        "b/up": "../a",
        "b/absolute": "/a",
    }.items():
        (root / name).symlink_to(target)
    assert located(root, "/absolute") == root / "a/file"
    assert located(root, "b/absolute/file") == root / "a/file"
    assert located(root, "b/up/./file") == root / "a/file"
    assert located(root, "b/up/../b/c/other") == root / "b/c/other"
    for path in ("loop", "dangling", "a/file/x", "no", "nul\0"):
        assert located(root, path) is None
    for path in ("out", "..", "a/../../root/a"):
        with pytest.raises(InputError, match="leads out of the root directory"):
            located(root, path)


MALICIOUS: dict[str, tuple[dict[str, bytes | Link | None], str]] = {
    "a name with dots": ({"a/../../outside/x": b"x"}, "its member a/../../outside/x leads out"),
    "a whiteout of its directory": ({"a": None, "a/.wh...": b""}, "hides a directory"),
    "a hard link to outside": ({"a": ("hardlink", "../outside/kept")}, "leads out of it"),
    "a hard link by a link": (
        {"a": ("symlink", "../../outside"), "b": ("hardlink", "a/kept")},
        "leads out of the root directory",
    ),
    "a file by a link": ({"a": ("symlink", "../../outside"), "a/x": b"x"}, "leads out of the root"),
    "a hidden file by a link": (
        {"a": ("symlink", "../../outside"), "a/.wh.kept": b""},
        "leads out of the root directory",
    ),
}


@pytest.mark.parametrize("what", MALICIOUS)
def test_nothing_is_written_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    entries, message = MALICIOUS[what]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for place in ("outside", "temporary/outside"):
        laid_out(tmp_path / place, {"kept": b"kept"})
    path = docker_saved(tmp_path / "image", config("/a"), [layer(entries)])
    with pytest.raises(InputError, match=message), opened_image(path):
        pass
    assert sorted(one.name for one in (tmp_path / "temporary").iterdir()) == ["outside"]
    for place in ("outside", "temporary/outside"):
        assert [one.name for one in (tmp_path / place).iterdir()] == ["kept"]


def test_an_absolute_link_to_a_directory_leads_into_the_image(tmp_path: Path) -> None:
    """So a file below it is written there, not at that place of the machine."""
    outside = tmp_path / "outside"
    outside.mkdir()
    entries: dict[str, bytes | Link | None] = {"a": ("symlink", str(outside)), "a/x": b"x"}
    path = docker_saved(tmp_path / "image", config("/a/x"), [layer(entries)])
    with opened_image(path) as image:
        assert (image.root / "a/x").read_bytes() == b"x"
    assert not list(outside.iterdir())


def test_images_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = {"zeros": bytes(5 << 20)}
    path = tmp_path / "image"
    path.write_bytes(gzip.compress(layer(layout(config("/a"), [layer(zeros)]))))
    assert len(path.read_bytes()) < 100_000
    with opened_image(path) as image:  # no program, so its content is left out
        assert (image.root / "zeros").read_bytes() == b""
    for name, most, message in (
        ("MOST_BYTES", 1 << 20, "unpacks to more than"),
        ("MOST_MEMBERS", 5, "has more than 5 members"),
        ("_LARGEST", 4, "is larger than"),
    ):
        program_too = {**zeros, "program": b"\x7fELF" + bytes(100)}
        path.write_bytes(gzip.compress(layer(layout(config("/a"), [layer(program_too)]))))
        with monkeypatch.context() as patch:
            patch.setattr(layers, name, most)
            with pytest.raises(InputError, match=message), opened_image(path):
                pass


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("long")
    member.type = tarfile.XHDTYPE
    member.size = 1 << 33
    (tmp_path / "image").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16))
    with pytest.raises(InputError, match="a header of"), opened_image(tmp_path / "image"):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "image: cannot be unpacked: "),
        (b"\x28\xb5\x2f\xfd....", "image: cannot be unpacked: it is compressed by zstd"),
        (layer({"manifest.json": b"[]"}), "image: has 0 images: save one, for one platform"),
        (layer({"manifest.json": b"{"}), "image: is a broken image: manifest.json is no JSON"),
        (layer({"manifest.json": b"[{}]"}), "image: is a broken image: it has no file None"),
        (
            layer({"index.json": b'{"manifests": [{"digest": "sha256:../x"}]}'}),
            "image: is a broken image: 'sha256:../x' is no sha256 digest",
        ),
        (layer({"bin/a": b""}), "the image has no entry point"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "image").write_bytes(content)
    assert refused(tmp_path / "image").startswith(message)


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    path = docker_saved(tmp_path / "image", config("/gone"), [])
    assert refused(path) == "the image has no program /gone\n"
    assert refused(path, "--root", ".").startswith("--root is for a BINARY")
    files: dict[str, bytes | Link | None] = {"a": b"#!/bin/gone\n", "b": b"#!/usr/bin/env gone\n"}
    path = docker_saved(tmp_path / "image", config("/a"), [layer(files)])
    assert refused(path) == "/a: is a script for '/bin/gone', which the image does not have\n"
    run = inside("scan", cwd=tmp_path)
    assert (run.code, run.err) == (2, "name a BINARY, or an image with --image\n")
