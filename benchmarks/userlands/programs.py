"""The programs, how each is set to work, and what asks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.userlands import clients

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Program:
    """A command that is started under the filter, in /job with the files of workloads/ in it.

    ``prepare`` are commands of a shell, without a filter. ``client`` asks a server from outside the
    filter, and returns what was answered; then the server gets SIGTERM. ``offer`` is served to the
    command from outside.
    """

    name: str
    package: str
    command: tuple[str, ...]
    prepare: str = ""
    client: Callable[[clients.Lives], str] | None = None
    offers_http: bool = False


def _script(name: str, package: str, shell: str = "/bin/sh") -> Program:
    return Program(name, package, (shell, f"/job/{name}.sh"))


PROGRAMS = {
    program.name: program
    for program in (
        Program("python", "python3", ("/usr/bin/python3", "/job/job.py")),
        Program(
            "redis",
            "redis-server",
            (
                *(
                    "/usr/bin/redis-server",
                    "--port",
                    "6379",
                    "--bind",
                    "127.0.0.1",
                    "--dir",
                    "/job",
                ),
                *("--appendonly", "yes", "--save", "", "--io-threads", "2"),
            ),
            client=clients.redis,
        ),
        Program(
            "nginx",
            "nginx",
            ("/usr/sbin/nginx", "-c", "/job/nginx.conf"),
            prepare="mkdir www; seq 20000 >www/large.txt; echo small >www/small; chmod 755 . www",
            client=clients.nginx,
        ),
        _script("git", "git"),
        Program(
            "curl",
            "curl",
            (
                *("/usr/bin/curl", "-sS", "--compressed", "--parallel", "--parallel-max", "3"),
                *("-c", "cookies", "-o", "#1", "http://localhost:8000/{one,two,three}"),
                *(
                    "--next",
                    "-sS",
                    "-F",
                    "file=@job.py",
                    "-w",
                    "%{http_code}\\n",
                    "http://localhost:8000/form",
                ),
                *("--next", "-sS", "-L", "--retry", "1", "http://127.0.0.1:8000/moved"),
                *("--next", "-sS", "file:///job/cookies", "-o", "again", "-r", "0-9"),
            ),
            offers_http=True,
        ),
        _script("sqlite", "sqlite3"),
        _script("tar", "tar"),
        _script("shell", "coreutils", "/bin/bash"),
        Program("perl", "perl", ("/usr/bin/perl", "/job/job.pl")),
        Program("ruby", "ruby", ("/usr/bin/ruby", "/job/job.rb")),
        Program(
            "php",
            "php-cli",
            ("/usr/bin/php", "-S", "127.0.0.1:8000", "-t", "/job"),
            client=clients.php,
        ),
        Program("node", "nodejs", ("/usr/bin/node", "/job/job.js")),
        Program(
            "memcached",
            "memcached",
            ("/usr/bin/memcached", "-u", "root", "-l", "127.0.0.1", "-p", "11211", "-t", "4"),
            client=clients.memcached,
        ),
        _script("openssl", "openssl"),
        _script("gnupg", "gnupg"),
        _script("rsync", "rsync"),
    )
}
