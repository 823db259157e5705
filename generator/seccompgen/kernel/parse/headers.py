"""Headers that constants are read from, and each ABI's predefined macros and type sizes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from seccompgen.core.abis import ABIS
from seccompgen.kernel.parse.c_types import Model
from seccompgen.kernel.parse.sources import VIEWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seccompgen.core.abis import Abi

SOCKET = "include/linux/socket.h"
"""The kernel-internal header of AF_, PF_, MSG_, SOL_ and SCM_ names, which libraries copy."""
NET = "include/linux/net.h"
"""The kernel-internal header of socket types, for comparison with `SOCKET_TYPES`."""

_LINUX = """
    acct aio_abi android/binder android/binderfs audit auto_dev-ioctl auto_fs auto_fs4 auxvec
    binfmts bits blk-crypto blkdev blkpg blktrace_api blkzoned bpf bpf_common bpf_perf_event bsg
    btrfs can can/bcm can/gw can/isotp can/j1939 can/raw capability cdrom cec close_range cn_proc
    connector const coredump counter dm-ioctl dma-buf dma-heap dqblk_xfs errno errqueue ethtool
    eventfd eventpoll ext4 f2fs fadvise falloc fanotify fb fcntl fd fiemap filter firewire-cdev
    firewire-constants fs fscrypt fsmap fsverity fuse futex genetlink gpio hdlc/ioctl hdreg hid
    hiddev hidraw hpet hw_breakpoint i2c i2c-dev icmp icmpv6 if if_alg if_arp if_bonding if_bridge
    if_ether if_packet if_ppp if_pppol2tp if_pppox if_tun if_tunnel if_vlan if_xdp igmp in in6
    inotify input input-event-codes io_uring io_uring/bpf_filter io_uring/mock_file io_uring/query
    io_uring/zcrx ioctl iommufd ioprio ip ipc ipmi ipmi_msgdefs ipsec ipv6 irqnr joystick kcm kcmp
    kcov kd kexec keyboard keyctl kfd_ioctl kvm kvm_para landlock libc-compat limits lirc
    liveupdate llc loadpin loop lp lsm magic major map_benchmark media membarrier memfd mempolicy
    mii mman module mount mptcp mptcp_pm mqueue mroute mroute6 msdos_fs msg mshv mtio nbd net
    net_namespace net_tstamp netdevice netfilter netfilter/x_tables netfilter/xt_tcpudp
    netfilter_arp netfilter_bridge netfilter_ipv4 netfilter_ipv4/ip_tables netfilter_ipv6
    netfilter_ipv6/ip6_tables netlink nitro_enclaves nsfs nsm ntsync nvme_ioctl nvram oom openat2
    param parport perf_event personality pfkeyv2 pidfd pktcdvd poll posix_types ppdev ppp-comp
    ppp-ioctl ppp_defs pps pr prctl psci psp-sev ptp_clock ptrace pwm quota raid/md_p raid/md_u
    random raw rds reboot remoteproc_cdev resource rfkill route rpmsg rseq rtc rxrpc sched
    sched/types sctp seccomp securebits sed-opal sem serial sev-guest shm signal signalfd smc
    sock_diag socket sockios soundcard spi/spi spi/spidev stat stddef suspend_ioctls sync_file
    sysctl sysinfo target_core_user tcp tdx-guest tee termios time time_types timerfd times timex
    tiocl tipc tls tty tty_flags typelimits types ublk_cmd udmabuf udp uhid uinput uio un usb/ch9
    usb/functionfs usb/gadgetfs usb/raw_gadget usbdevice_fs user_events userfaultfd userio utime
    utsname v4l2-common v4l2-mediabus v4l2-subdev vbox_err vbox_vmmdev_types vboxguest vduse vesa
    vfio vhost vhost_types videodev2 virtio_config virtio_ring virtio_types vm_sockets vt wait
    watch_queue watchdog wireless x25 xattr xfrm
"""
_OTHERS = """
    drm/drm drm/drm_mode misc/fastrpc mtd/mtd-abi mtd/ubi-user rdma/hfi/hfi1_ioctl
    rdma/ib_user_mad rdma/rdma_user_ioctl rdma/rdma_user_ioctl_cmds sound/asequencer sound/asound
    sound/compress_offload sound/compress_params xen/evtchn xen/gntalloc xen/gntdev xen/privcmd
"""
_GENERIC = """
    errno errno-base fcntl hugetlb_encode int-l64 int-ll64 ioctl ioctls ipcbuf kvm_para mman
    mman-common msgbuf param poll posix_types resource sembuf shmbuf siginfo signal signal-defs
    socket sockios stat statfs termbits termbits-common termios types
"""
_ARCHITECTURE = """
    auxvec cachectl errno fcntl hwcap ioctl ioctls ipcbuf kvm kvm_para mman msgbuf param poll
    posix_types ptrace resource sembuf shmbuf siginfo signal socket sockios stat statfs termbits
    termios types
"""
"""Headers that an architecture may define itself; otherwise the generic one applies."""

_OWN: Mapping[str, str] = {
    "alpha": "fpu gentrap sysinfo",
    "arm": "hwcap2",
    "arm64": "sigcontext sve_context",
    "mips": "sgidefs sysmips",
    "powerpc": "eeh epapr_hcalls papr-hvpipe papr-indices papr-miscdev papr-physical-attestation"
    " papr-platform-dump papr-sysparm papr-vpd perf_event tm vas-api",
    "riscv": "hwprobe",
    "s390": "chpid chsc clp cmb dasd guarded_storage hwctrset hypfs monwriter runtime_instr schid"
    " sclp_ctl sie uvdevice vmcp zcrypt",
    "sh": "posix_types_32 posix_types_64 ptrace_32 ptrace_64",
    "sparc": "apc asi display7seg envctrl fbio openpromio oradax perfctr psrcompat pstate"
    " sigcontext traps uctx utrap watchdog",
    "x86": "amd_hsmp debugreg ldt mce msr mtrr posix_types_32 posix_types_64 posix_types_x32 prctl"
    " processor-flags ptrace-abi sgx vm86",
}
"""Headers that only these architectures have, also below ``asm``."""


_PARTS = re.compile(r"asm/(posix_types|ptrace)_.*")
"""Headers for one kind of ABI, which another header selects; they are not read by themselves."""


def _headers(names: str, directory: str) -> tuple[str, ...]:
    return tuple(f"{directory}/{name}.h" for name in names.split())


def asm_headers(srcarch: str) -> tuple[str, ...]:
    """Return the headers below ``asm`` that programs of an architecture may include."""
    return tuple(name for name in _all_asm_headers(srcarch) if not _PARTS.fullmatch(name))


def _all_asm_headers(srcarch: str) -> tuple[str, ...]:
    return _headers(f"{_ARCHITECTURE} {_OWN.get(srcarch, '')}", "asm")


SHARED_HEADERS = (*_headers(_LINUX, "linux"), *(f"{name}.h" for name in _OTHERS.split()))
"""Headers that all architectures share, by the names under which programs include them."""

HEADER_CANDIDATES = frozenset(
    {
        SOCKET,
        NET,
        *(f"include/uapi/{name}" for name in SHARED_HEADERS),
        *(f"include/uapi/{name}" for name in _headers(_GENERIC, "asm-generic")),
        *(
            f"arch/{view.srcarch}/include/uapi/{name}"
            for view in VIEWS.values()
            for name in _all_asm_headers(view.srcarch)
        ),
    }
)
"""Every upstream path that may define constants at some tag."""

SOCKET_TYPES = """\
#ifdef __mips__
#define SOCK_DGRAM 1
#define SOCK_STREAM 2
#else
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#endif
#define SOCK_RAW 3
#define SOCK_RDM 4
#define SOCK_SEQPACKET 5
#define SOCK_DCCP 6
#define SOCK_PACKET 10
#define SOCK_CLOEXEC O_CLOEXEC
#ifndef SOCK_NONBLOCK
#define SOCK_NONBLOCK O_NONBLOCK
#endif
"""
"""Socket types, which are in no header for user space: they are enum sock_type in NET and in
arch/mips/include/asm/socket.h. Their values have not changed since v2.6.27 added SOCK_CLOEXEC."""

_FOUR = frozenset(
    {"i386", "arm_oabi", "sh", "sheb", "csky", "nios2", "openrisc", "arc", "microblaze"}
)
"""ABIs that align 64 bits to 4 bytes in a struct, most by GCC's BIGGEST_ALIGNMENT."""


def model_of(abi: Abi) -> Model:
    """Return the sizes of an ABI's scalars."""
    long: Literal[4, 8] = 8 if abi.bits == 64 else 4
    if abi.name == "m68k":
        return Model(4, wide=2, most=2, biggest=2)
    if abi.name in _FOUR:
        return Model(long, wide=4, most=4, least_record=4 if abi.name == "arm_oabi" else 1)
    return Model(long)


_COMPILERS = {
    "__GNUC__": "14",
    "__STDC__": "1",
    "__STDC_VERSION__": "201710L",
    "__CHAR_BIT__": "8",
    "__EXPORTED_HEADERS__": "1",
    # Annotations for the kernel's checkers, which `make headers_install` removes.
    "__user": "",
    "__force": "",
    "__iomem": "",
    "__attribute_const__": "",
}


def predefined(name: str) -> dict[str, str]:
    """Return the predefined macros of a program for the ABI ``name``."""
    abi, view = ABIS[name], VIEWS[name]
    order = abi.byte_order.upper()
    macros = {**_COMPILERS, **view.predefined, "__SIZEOF_LONG__": str(abi.bits // 8)}
    macros |= {
        f"__{order}_ENDIAN": "1234" if order == "LITTLE" else "4321",
        f"__{order}_ENDIAN_BITFIELD": "1",
        f"__{order}_ENDIAN__": "1",
        "__BITS_PER_LONG_LONG": "64",
    }
    if abi.bits == 64:
        macros["__SIZEOF_INT128__"] = "16"
    if view.srcarch == "mips":
        macros |= {"_MIPS_SZLONG": str(abi.bits), "_MIPS_SZPTR": str(abi.bits)}
        if "64" in name:  # n32, too
            macros["__mips64"] = "64"
    if view.srcarch == "riscv":
        macros["__riscv_xlen"] = str(abi.bits)
    return macros
