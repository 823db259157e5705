"""The machines that are booted: kernel, user space and emulated hardware of each guest.

Kernels and user spaces are Debian's. None is named by its version: of the packages of a suite the
newest that fits a pattern is taken, so that "newest" stays so. What a machine needs to boot is in
QEMU's documentation of its system targets; what makes it boot fast was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Software:
    """Where packages come from: a suite and an architecture, both by Debian's names."""

    suite: str
    architecture: str


@dataclass(frozen=True, slots=True)
class Guest:
    """A kernel, a user space that holds Python, and the machine that both run on.

    ``abi`` is our name of the ABI that the user space is of; the kernel may be of a wider one.
    ``kernel_package`` is a pattern that the whole name of the kernel's package matches.
    ``emulator`` is a command of QEMU's, ``machine`` and ``cpu`` its ``-M`` and ``-cpu``, ``memory``
    is in MiB, ``arguments`` are further ones. ``console`` is the kernel's name of the first serial
    line, ``parameters`` are further ones of it, ``initcalls`` are functions of its start to leave
    out. ``modules`` are parts of the kernel to load. If ``whole``, the guest makes all attacks, not
    a share.
    """

    name: str
    abi: str
    kernel: Software
    kernel_package: str
    user: Software
    emulator: str
    machine: str
    cpu: str
    memory: int
    console: str
    arguments: tuple[str, ...] = ("-serial", "stdio")
    parameters: tuple[str, ...] = ()
    initcalls: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    whole: bool = False


_SOCKETS = (
    *("af_alg", "algif_hash", "vsock", "sctp", "rds", "tipc", "kcm", "smc", "tun", "tls"),
    *("iptable_filter", "ip6table_filter", "vsock_loopback"),
)
"""Modules whose sockets and devices attacks use; a kernel for clouds has these too."""
_MORE_SOCKETS = (
    *("ax25", "netrom", "rose", "appletalk", "can_raw", "bluetooth", "rxrpc", "qrtr", "phonet"),
    *("pppox", "llc2", "af_key", "ieee802154_socket", "nfc"),
)
"""Further ones, which only a kernel for all machines has."""

_PC = Guest(
    name="x86_64-6.1",
    abi="x86_64",
    kernel=Software("bookworm", "amd64"),
    kernel_package=r"linux-image-6\.1\..*-cloud-amd64",
    user=Software("bookworm", "amd64"),
    emulator="qemu-system-x86_64",
    machine="pc",
    cpu="max",
    memory=256,
    console="ttyS0",
    # Whether the timer ticks is asked with a loop: an emulator that a busy host keeps waiting
    # meanwhile would have the kernel panic.
    parameters=("no_timer_check",),
)
_ARM_VIRT = Guest(
    name="aarch64-6.1",
    abi="aarch64",
    kernel=Software("bookworm", "arm64"),
    kernel_package=r"linux-image-6\.1\..*-cloud-arm64",
    user=Software("bookworm", "arm64"),
    emulator="qemu-system-aarch64",
    machine="virt",
    cpu="cortex-a57",
    memory=256,
    console="ttyAMA0",
    # Which would have the kernel unmap itself whenever a program runs (KPTI): a third more time.
    parameters=("nokaslr",),
)

GUESTS: tuple[Guest, ...] = (
    replace(
        _PC,
        name="x86_64-5.10",
        kernel=Software("bullseye", "amd64"),
        kernel_package=r"linux-image-5\.10\..*-cloud-amd64",
    ),
    replace(_PC, modules=_SOCKETS, whole=True),
    replace(
        _PC,
        name="x86_64-newest",
        kernel=Software("sid", "amd64"),
        kernel_package=r"linux-binary-\d.*-cloud-amd64",
        whole=True,
    ),
    replace(_PC, name="i386-on-x86_64", abi="i386", user=Software("bookworm", "i386")),
    replace(
        _PC,
        name="i386",
        abi="i386",
        kernel=Software("bookworm", "i386"),
        kernel_package=r"linux-image-6\.1\..*-\d+-686",
        user=Software("bookworm", "i386"),
        emulator="qemu-system-i386",
        cpu="max",
        initcalls=("isapnp_init",),
        # sctp and rxrpc ask the kernel's cryptography for the first three, by no symbol.
        modules=("crc32c_generic", "pcbc", "fcrypt", *_SOCKETS, *_MORE_SOCKETS),
        whole=True,
    ),
    replace(
        _ARM_VIRT,
        name="aarch64-5.10",
        kernel=Software("bullseye", "arm64"),
        kernel_package=r"linux-image-5\.10\..*-cloud-arm64",
    ),
    _ARM_VIRT,
    replace(
        _ARM_VIRT,
        name="aarch64-newest",
        kernel=Software("sid", "arm64"),
        kernel_package=r"linux-binary-\d.*-cloud-arm64",
    ),
    replace(_ARM_VIRT, name="arm-on-aarch64", abi="arm", user=Software("sid", "armhf")),
    replace(
        _ARM_VIRT,
        name="arm",
        abi="arm",
        kernel=Software("sid", "armhf"),
        kernel_package=r"linux-binary-\d.*-armmp",
        user=Software("sid", "armhf"),
        emulator="qemu-system-arm",
        cpu="cortex-a15",
    ),
    Guest(
        name="riscv64",
        abi="riscv64",
        kernel=Software("sid", "riscv64"),
        kernel_package=r"linux-binary-\d.*-riscv64",
        user=Software("sid", "riscv64"),
        emulator="qemu-system-riscv64",
        machine="virt",
        cpu="rv64",
        memory=256,
        # The serial line's interrupts get lost here when the host is busy; then it takes minutes.
        console="hvc0",
        arguments=(
            *("-chardev", "stdio,id=c"),
            *("-device", "virtio-serial-pci", "-device", "virtconsole,chardev=c"),
        ),
    ),
    Guest(
        name="ppc64le",
        abi="ppc64le",
        kernel=Software("sid", "ppc64el"),
        kernel_package=r"linux-binary-\d.*-powerpc64le",
        user=Software("sid", "ppc64el"),
        emulator="qemu-system-ppc64",
        machine="pseries,x-vof=on",
        cpu="power9",
        memory=256,
        console="hvc0",
    ),
    Guest(
        name="s390x",
        abi="s390x",
        kernel=Software("sid", "s390x"),
        kernel_package=r"linux-binary-\d.*-s390x",
        user=Software("sid", "s390x"),
        emulator="qemu-system-s390x",
        machine="s390-ccw-virtio",
        cpu="max",
        memory=256,
        console="ttysclp0",
        arguments=("-chardev", "stdio,id=c", "-device", "sclpconsole,chardev=c"),
    ),
    Guest(
        name="mips64el",
        abi="mips64el",
        kernel=Software("bookworm", "mips64el"),
        kernel_package=r"linux-image-6\.1\..*-5kc-malta",
        user=Software("bookworm", "mips64el"),
        emulator="qemu-system-mips64el",
        machine="malta",
        cpu="5KEf",
        memory=256,
        console="ttyS0",
    ),
    Guest(
        name="loongarch64",
        abi="loongarch64",
        kernel=Software("sid", "loong64"),
        kernel_package=r"linux-binary-\d.*-loong64",
        user=Software("sid", "loong64"),
        emulator="qemu-system-loongarch64",
        machine="virt",
        cpu="la464",
        memory=512,
        console="ttyS0",
        initcalls=("i8042_init",),
    ),
)
"""In the order in which reports list them."""


_BACKPORTS = "trixie-backports"
"""A suite that keeps each kernel that it ever had since its release began."""


def _with_rings(name: str, base: str, suite: str, release: str = r"\d") -> Guest:
    """Return a guest of `GUESTS` with a kernel of another suite, or of a release in that."""
    guest = next(one for one in GUESTS if one.name == base)
    flavour = guest.kernel_package.rpartition(".*")[2]
    parameters = guest.parameters
    if guest.machine == "pc":  # whose kernel measures its clock, and wrongly on a busy host
        parameters += ("clocksource=acpi_pm",)
    return replace(
        guest,
        name=name,
        parameters=parameters,
        kernel=Software(suite, guest.kernel.architecture),
        kernel_package=rf"linux-binary-{release}.*{flavour}",
    )


RING_GUESTS: tuple[Guest, ...] = (
    _with_rings("x86_64-7.0", "x86_64-newest", _BACKPORTS, r"7\.0\."),
    _with_rings("x86_64-7.1.7", "x86_64-newest", _BACKPORTS, r"7\.1\.7\+"),
    _with_rings("x86_64-7.2.6", "x86_64-newest", _BACKPORTS, r"7\.2\.6\+"),
    _with_rings("x86_64-sid", "x86_64-newest", "sid"),
    _with_rings("x86_64-7.3", "x86_64-newest", _BACKPORTS, r"7\.3\."),
    _with_rings("aarch64-7.1.7", "aarch64-newest", _BACKPORTS, r"7\.1\.7\+"),
    _with_rings("aarch64-7.3", "aarch64-newest", _BACKPORTS, r"7\.3\."),
    *(
        _with_rings(f"{abi}-{suite}", abi, suite)
        for abi in ("ppc64le", "s390x", "loongarch64")
        for suite in ("sid", "experimental")
    ),
    _with_rings("riscv64-sid", "riscv64", "sid"),
)
"""The guests that try filters of io_uring's operations, which kernels have since 7.0.

Kernels differ in these: up to 7.1.7 they lose them at exec, before 7.2 they show no addresses,
before 7.2.11 not all, before 7.3.4 a socket's type has flags in it.
"""
