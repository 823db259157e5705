"""An attack as a value, and what it comes to in a forked child, with a filter or without.

An attack is a generator function. Up to its one ``yield`` it prepares, unconfined; there the filter
comes into force; then it attacks, and returns if it has got what the promise denies: it must have
seen the effect, not only that a call did not fail. Standard library only, Python 3.9 or newer.
"""

import contextlib
import gc
import mmap
import os
import resource
import select
import signal
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Optional

from escape.scene import BY_NUMBER, ERRNO_NAMES, ESCAPED, Foiled, Scene, Unavailable

Body = Callable[[Scene], "Generator[None, None, None]"]
ByNumber = Callable[[Scene, "Callable[..., int]"], "Generator[None, None, None]"]

_SECONDS = 60.0
"""Seconds until an attack is killed. On emulated machines all takes long."""


@dataclass(frozen=True)
class Attack:
    """``against`` has by policy the label of the promise, or of the exclusion, that it tries;
    ``abis`` are the ones that have that way in, () if all may."""

    name: str
    body: Body
    against: "dict[str, str]" = field(hash=False)
    outside: bool
    abis: "tuple[str, ...]" = ()

    def exists(self, abi: str) -> bool:
        """Say whether processes of an ABI can go that way."""
        return not self.abis or abi in self.abis


ATTACKS: "list[Attack]" = []

COMPOSED = {"sandboxed_code": ("no_path_sockets", "no_escape", "no_listen")}
"""By policy, those that it includes, whose promises it makes under the same labels."""


def attack(*, abis: "tuple[str, ...]" = (), **against: str) -> "Callable[[Body], Body]":
    """Register an attack on a promise of each policy: ``@attack(no_exec="programs")``."""
    return lambda body: _register(body, against, abis, outside=False)


def outside(**against: str) -> "Callable[[Body], Body]":
    """Register what a policy says that it does not promise, and what therefore must succeed."""
    return lambda body: _register(body, against, (), outside=True)


def by_numbers(**against: str) -> "Callable[[ByNumber], ByNumber]":
    """Register an attack for each ABI that a process of another can call by the number alone.

    The body is given what makes a call of that ABI, by its name.
    """

    def register(body: ByNumber) -> ByNumber:
        for label, (abi, beside) in BY_NUMBER.items():

            def attacking(scene: Scene, abi: str = abi) -> "Generator[None, None, None]":
                yield from body(scene, scene.calls_of(abi))

            attacking.__name__ = f"{body.__name__}_by_the_number_of_{label}"
            _register(attacking, against, (beside,), outside=False)
        return body

    return register


def _register(
    body: Body, against: "dict[str, str]", abis: "tuple[str, ...]", *, outside: bool
) -> Body:
    name = getattr(body, "__name__", "")
    if not outside:
        for composed, layers in COMPOSED.items():
            for layer in layers:
                if layer in against:
                    against = {composed: against[layer], **against}
    ATTACKS.append(Attack(name, body, dict(against), outside, abis))
    return body


@dataclass(frozen=True)
class Outcome:
    """``kind``: "escaped", "refused" (errno's name), "foiled", "killed" (the signal's name),
    "unprepared" (what was refused before it began), "unavailable" (the reason), or "broken": the
    attack itself has a fault. ``detail`` is in the parentheses."""

    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


def tried(body: Body, scene: Scene, install: "Optional[Callable[[], object]]") -> Outcome:
    """Run an attack in a child; None for ``install`` leaves it free."""
    told = mmap.mmap(-1, 4096)
    pid = os.fork()
    if pid == 0:
        _child(body, scene, install, told)
    pidfd = os.pidfd_open(pid)
    if not select.select([pidfd], [], [], _SECONDS)[0]:
        os.kill(pid, signal.SIGKILL)
    os.close(pidfd)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    # Children that it left, while its number is its own still.
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    kind, _, detail = told[:].rstrip(b"\0").decode().partition("|")
    told.close()
    if os.WIFSIGNALED(status):
        return Outcome("killed", signal.Signals(os.WTERMSIG(status)).name)
    if not kind and os.WEXITSTATUS(status) == ESCAPED:
        return Outcome("escaped")
    return Outcome(kind or "broken", detail or ("" if kind else f"exit {os.WEXITSTATUS(status)}"))


def _child(
    body: Body, scene: Scene, install: "Optional[Callable[[], object]]", told: mmap.mmap
) -> None:
    code = 1
    result = "broken|"
    attacking = False
    try:
        gc.disable()
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # So that what the filter kills leaves no core file, and has none piped to a program. The
        # hard limit stays: an attack of `crashes` raises the other.
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (0 if hard == 0 else 1, hard))
        steps = body(scene)
        try:
            next(steps)
            if install is not None:
                install()
            attacking = True
            next(steps)
            result = "broken|it yields twice"
        except StopIteration:
            result = "escaped|" if attacking else "broken|it never yields"
        except Unavailable as error:
            result = f"unavailable|{error}"
        except Foiled as error:
            result = f"foiled|{error}"
        except OSError as error:
            name = ERRNO_NAMES.get(error.errno or 0, str(error.errno))
            result = f"refused|{name}" if attacking else f"unprepared|{error!r}"
        code = 0
    except BaseException as error:
        result = f"broken|{error!r}{'' if attacking else ' while preparing'}"
    finally:
        text = result.encode()[:4000]
        told[: len(text)] = text
        os._exit(code)
