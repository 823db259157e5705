"""The names by which compilers of C, Rust and Go know the ABI that they compile for.

C: macros that gcc and clang predefine (``cc -dM -E - </dev/null``). Rust: what rustc sets
(``rustc --print cfg``). Go: GOARCH. Tests ask clang, rustc and go.
"""

from __future__ import annotations

from dataclasses import dataclass

_LITTLE = "__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__"
_BIG = "__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__"
_32 = "__SIZEOF_POINTER__ == 4"
_64 = "__SIZEOF_POINTER__ == 8"


@dataclass(frozen=True, slots=True)
class Target:
    """Tests for one ABI in each language: ``c`` for ``#if``, ``rust`` for ``cfg``, ``go`` GOARCH.

    None where the language has no Linux target of that ABI.
    """

    c: str
    rust: str | None = None
    go: str | None = None


def _rust(arches: str, bits: int, order: str) -> str:
    """Return the cfg of ABIs that Rust calls ``arches``, separated by spaces."""
    names = [f'target_arch = "{arch}"' for arch in arches.split()]
    arch = names[0] if len(names) == 1 else f"any({', '.join(names)})"
    return f'all({arch}, target_pointer_width = "{bits}", target_endian = "{order}")'


def _mips(kind: str, order: str) -> str:
    return f"defined(__mips__) && defined({kind}) && _MIPS_SIM == {kind} && {order}"


TARGETS: dict[str, Target] = {
    "x86_64": Target(f"defined(__x86_64__) && {_64}", _rust("x86_64", 64, "little"), "amd64"),
    "x32": Target(f"defined(__x86_64__) && {_32}", _rust("x86_64", 32, "little")),
    "i386": Target("defined(__i386__)", _rust("x86", 32, "little"), "386"),
    "arm": Target(
        f"defined(__arm__) && defined(__ARM_EABI__) && {_LITTLE}", _rust("arm", 32, "little"), "arm"
    ),
    "aarch64": Target(
        f"defined(__aarch64__) && {_64} && {_LITTLE}", _rust("aarch64", 64, "little"), "arm64"
    ),
    "riscv64": Target(f"defined(__riscv) && {_64}", _rust("riscv64", 64, "little"), "riscv64"),
    "riscv32": Target("defined(__riscv) && __riscv_xlen == 32", _rust("riscv32", 32, "little")),
    "loongarch64": Target(
        f"defined(__loongarch__) && {_64}", _rust("loongarch64", 64, "little"), "loong64"
    ),
    "loongarch32": Target(
        "defined(__loongarch__) && __loongarch_grlen == 32", _rust("loongarch32", 32, "little")
    ),
    "s390x": Target("defined(__s390x__)", _rust("s390x", 64, "big"), "s390x"),
    "s390": Target("defined(__s390__) && !defined(__s390x__)"),
    "ppc64le": Target(
        f"defined(__powerpc64__) && {_LITTLE}", _rust("powerpc64", 64, "little"), "ppc64le"
    ),
    "ppc64": Target(f"defined(__powerpc64__) && {_BIG}", _rust("powerpc64", 64, "big"), "ppc64"),
    "ppc": Target(
        f"defined(__powerpc__) && !defined(__powerpc64__) && {_BIG}", _rust("powerpc", 32, "big")
    ),
    "mips": Target(_mips("_ABIO32", _BIG), _rust("mips mips32r6", 32, "big"), "mips"),
    "mips64": Target(_mips("_ABI64", _BIG), _rust("mips64 mips64r6", 64, "big"), "mips64"),
    "mips64n32": Target(_mips("_ABIN32", _BIG), _rust("mips64 mips64r6", 32, "big")),
    "mipsel": Target(_mips("_ABIO32", _LITTLE), _rust("mips mips32r6", 32, "little"), "mipsle"),
    "mips64el": Target(
        _mips("_ABI64", _LITTLE), _rust("mips64 mips64r6", 64, "little"), "mips64le"
    ),
    "mips64n32el": Target(_mips("_ABIN32", _LITTLE), _rust("mips64 mips64r6", 32, "little")),
    "parisc": Target(f"defined(__hppa__) && {_32}"),
    "parisc64": Target(f"defined(__hppa__) && {_64}"),
    "alpha": Target("defined(__alpha__)"),
    "m68k": Target("defined(__m68k__)", _rust("m68k", 32, "big")),
    "sh": Target(f"defined(__sh__) && {_LITTLE}"),
    "sheb": Target(f"defined(__sh__) && {_BIG}"),
    "xtensa": Target(f"defined(__xtensa__) && {_LITTLE}", _rust("xtensa", 32, "little")),
    "csky": Target("defined(__csky__)", _rust("csky", 32, "little")),
}
"""By the canonical name of the ABI; every ABI on which Linux has filters is here."""
