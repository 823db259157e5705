"""A guest that boots systemd, with journald, auditd and systemd-coredump, all of them Debian's.

Its user space is that of the other guests and an archive more. The first process executes
systemd, whose one unit of ours runs the test's script.
"""

from __future__ import annotations

import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guests import emulator, image
from guests.cache import kept
from guests.image import Entry
from guests.machines import GUESTS, Software
from guests.packages import fetch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guests.packages import Package

_TRIXIE = Software("trixie", "amd64")

SYSTEM = replace(
    next(one for one in GUESTS if one.name == "x86_64-6.1"),
    name="x86_64-systemd",
    kernel=_TRIXIE,
    modules=(),  # none is needed here
    kernel_package=r"linux-image-6\.12\..*-cloud-amd64",
    user=_TRIXIE,
    memory=768,
    parameters=("no_timer_check", "systemd.show_status=no", "systemd.log_level=notice"),
)
"""The guest; no other guest's results depend on it, so it is in none of their tables."""

_PACKAGES = (
    *("libc6", "systemd", "libsystemd-shared", "libsystemd0", "libacl1", "libapparmor1"),
    *("libaudit1",),
    *("libcap2", "libcrypt1", "libmount1", "libblkid1", "libpam0g", "libseccomp2", "libselinux1"),
    *("libpcre2-8-0", "libssl3t64", "libzstd1", "liblzma5", "liblz4-1", "libcap-ng0", "libuuid1"),
    *("systemd-coredump", "libdw1t64", "libelf1t64", r"libbz2-1\.0"),
    *("auditd", "libauparse0t64", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libcom-err2"),
    *("libkrb5support0", "libkeyutils1", "libwrap0"),
    *("util-linux", "libtinfo6"),
)
"""systemd and auditd, and the libraries that they and their programs load."""

_WANTED = re.compile(
    r"etc/(systemd|audit|pam\.d|security|libaudit\.conf).*"
    r"|usr/lib/(systemd/(?!catalog|user|network)|sysctl\.d|tmpfiles\.d|x86_64-linux-gnu).*"
    r"|usr/bin/(systemctl|systemd-run|journalctl|coredumpctl|systemd-tmpfiles)"
    r"|usr/bin/dmesg|usr/sbin/(auditd|ausearch)"
)
_LEFT_OUT = re.compile(
    r".*/(system-generators|gconv|engines-3|ossl-modules|krb5)/.*"
    r"|usr/lib/systemd/systemd-(networkd|logind|pcrlock|sysext|measure|storagetm|hostnamed).*"
)

_FILES = {
    "etc/hostname": b"guest\n",
    "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
    "etc/passwd": b"""\
root:x:0:0:root:/root:/bin/sh
systemd-coredump:x:990:990::/:/usr/sbin/nologin
""",
    "etc/group": b"root:x:0:\nadm:x:4:\nsystemd-journal:x:101:\nsystemd-coredump:x:990:\n",
    "etc/os-release": b"ID=guest\n",
    "etc/systemd/system/audit-rules.service": b"""\
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c :
""",
    "etc/systemd/system/trial.target": b"[Unit]\nRequires=trial.service\n",
    "etc/systemd/system/trial.service": b"""\
[Unit]
DefaultDependencies=no
Requires=systemd-journald.service systemd-journald-audit.socket
After=systemd-journald.service systemd-journald-audit.socket
[Service]
Type=exec
ExecStart=/init
Environment=PYTHONHASHSEED=0
StandardOutput=tty
StandardError=tty
""",
}


def boot(files: Mapping[str, bytes], *, timeout: float, processor: int | None = None) -> bytes:
    """Boot the guest as `guests.emulator.boot` does, which see."""
    archive = _system()
    return emulator.boot(SYSTEM, files, timeout=timeout, processor=processor, archives=[archive])


def _system() -> Path:
    patterns = (*_PACKAGES, *image.PACKAGES, SYSTEM.kernel_package)
    fetched = fetch(_TRIXIE.suite, _TRIXIE.architecture, patterns)
    packages = [fetched[one] for one in _PACKAGES]
    inputs = (Path(__file__).read_text(), *(one.identity for one in packages))
    return kept("user-spaces/trixie-systemd", inputs, lambda: image.archive(_entries(packages)))


def _entries(packages: list[Package]) -> dict[str, Entry]:
    regular = stat.S_IFREG | 0o644
    entries = {name: Entry(regular, content) for name, content in _FILES.items()}
    entries["etc/systemd/system/default.target"] = Entry(stat.S_IFLNK | 0o777, b"trial.target")
    entries["var/run"] = Entry(stat.S_IFLNK | 0o777, b"../run")
    for name in ("run", "var/log/audit", "var/log/journal", "var/lib/systemd/coredump", "root"):
        entries[name] = Entry(stat.S_IFDIR | 0o700)
    for package in packages:
        for packed, entry in image.contents(package):
            name = re.sub(r"^(bin|sbin|lib\w*)/", r"usr/\1/", packed)
            if _WANTED.fullmatch(name) and not _LEFT_OUT.fullmatch(name):
                entries[name] = entry
    return entries
