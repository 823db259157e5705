"""Facts of one kernel tag: constants by name, and the arguments of calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.abis import Abi
    from seccompgen.core.releases import Introduced
    from seccompgen.core.tables import UpstreamFile


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a system call, as the kernel declares it.

    ``name`` is upstream's, else the man page's, else empty. ``type`` is the C type, such as
    ``unsigned int`` or ``struct stat __user *``. ``bits`` is the number of low bits of
    ``seccomp_data.args`` that the kernel reads: 8, 16, 32 or 64; None if unknown, which is treated
    as all of them. ``signed`` is True if the kernel reads these bits as a signed number.
    """

    name: str
    type: str
    bits: int | None
    signed: bool = False
    pointer: bool = False


@dataclass(frozen=True, slots=True)
class Prototype:
    """The entry point of a system call on an ABI, such as ``sys_openat``, and its parameters.

    ``parameters`` are in the order of ``seccomp_data.args``, at most six.
    """

    entry: str
    parameters: tuple[Parameter, ...]

    def index(self, name: str) -> int | None:
        """Return the index of the argument called ``name``, None if there is none."""
        return next((i for i, one in enumerate(self.parameters) if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Constant:
    """A name of the kernel's headers and its values.

    ``value`` applies to each ABI that is not a key of ``elsewhere``; a value of None means that the
    ABI lacks the constant. Values are signed as in C: AT_FDCWD is -100. ``reason`` explains why a
    name has no value on any ABI.
    """

    name: str
    value: int | None
    elsewhere: Mapping[str, int | None] = field(default_factory=dict)
    reason: str = ""

    def on(self, abi: Abi) -> int | None:
        """Return the value on ``abi``; None if the ABI lacks the constant."""
        return self.elsewhere.get(abi.name, self.value)


@dataclass(frozen=True)
class Facts:
    """All constants and prototypes of a tag, and the history of all calls up to it.

    ``prototypes`` maps canonical ABI names to mappings from calls to prototypes. The prototype of a
    call that is missing there is unknown. ``inputs`` are upstream files, by path, that only facts
    were read from, and no table. ``since`` contains, by ABI and call, the first release of each
    call, including calls and ABIs that the tag lacks.
    """

    constants: Mapping[str, Constant] = field(default_factory=dict, repr=False)
    prototypes: Mapping[str, Mapping[str, Prototype]] = field(default_factory=dict, repr=False)
    inputs: Mapping[str, UpstreamFile] = field(default_factory=dict, repr=False)
    since: Mapping[str, Mapping[str, Introduced]] = field(default_factory=dict, repr=False)

    @cached_property
    def constant_names(self) -> tuple[str, ...]:
        """The names of all constants, in alphabetical order."""
        return tuple(sorted(self.constants))

    def prototype(self, call: str, abi: Abi) -> Prototype | None:
        """Return the prototype of ``call`` on ``abi``; None if it is unknown."""
        return self.prototypes.get(abi.name, {}).get(call)

    def value(self, name: str, abi: Abi) -> int | None:
        """Return the value of the constant ``name`` on ``abi``, None if it has none there."""
        constant = self.constants.get(name)
        return constant.on(abi) if constant else None


NO_FACTS = Facts()
"""Facts without content: every argument is 64 bits wide and nameless."""
