"""One process of one tool, from the start of the interpreter on.

Imported by the Python that is measured, from a directory that holds ``tools.py`` too, and for
seccompgen the generated filter. So Python 3.9 and newer, and nothing is imported before the tool
but what an interpreter has loaded anyway. The tasks of `run` are

    confine TOOL    build the filter, put it in force, end
    prove TOOL      the same; print whether the kernel says so
    import TOOL     print the nanoseconds that importing the tool takes
    code seccompgen print those of installing, where system calls do nothing
    memory [TOOL]   print RSS and USS in KiB, confined or without TOOL as it is

A policy, as `tools` takes it, is the constant POLICY of ``policy_TOOL.py`` there. Times are the
processor's.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from benchmarks.tools import Build, Policy

IMPORTS = {"pyseccomp": "pyseccomp", "python3-seccomp": "seccomp", "seccompy": "seccompy"}
NR_PRCTL, NR_SECCOMP, AUDIT_ARCH_X86_64 = 157, 317, 0xC000003E
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39


def load(tool: str) -> "tuple[Build, Policy]":
    """Load the tool; return what builds its filter, and of what."""
    tools = __import__("tools")

    policy = __import__("policy_" + tool.replace("-", "_")).POLICY
    return tools.TOOLS[tool](policy), policy


def confine(tool: str) -> None:
    """Do what a program does that wants to be confined."""
    build, policy = load(tool)
    build(policy).install()


def prove(tool: str) -> None:
    """Print the line of /proc/self/status that says whether there is a filter."""
    confine(tool)
    with open("/proc/self/status") as file:  # noqa: PTH123 - pathlib is not loaded
        print(*(line for line in file if line.startswith("Seccomp:")), end="")


def importing(tool: str) -> None:
    """Time the import alone; for seccompgen that of a filter, into the application's package."""
    from time import process_time_ns  # noqa: PLC0415

    if tool == "seccompgen":
        name = __import__("policy_seccompgen").POLICY["module"]
        __import__(name.partition(".")[0])
    else:
        name = IMPORTS[tool]
    start = process_time_ns()
    __import__(name)
    print(process_time_ns() - start)


def code(tool: str) -> None:
    """Time all of installing but what the kernel does for it."""
    from time import process_time_ns  # noqa: PLC0415

    build, policy = load(tool)
    built = build(policy)
    package = str(policy["module"]).rpartition(".")[0]
    # install() does not believe who pretends: a program of no instructions would be in force, too.
    # It is told to expect that, and does the same otherwise.
    vars(__import__(f"{package}._runtime", fromlist=["install"]))["_EINVAL"] = 0
    pretend()
    start = process_time_ns()
    built.install()
    print(process_time_ns() - start)


def pretend() -> None:
    """Have seccomp(2) and prctl(2) answered at once from here on, as if they did what they do.

    By a filter: prctl() and seccomp() return 0, or EFAULT where the last argument is no pointer.
    Only whether no_new_privs is set the kernel says itself, and it is. It loads ctypes.
    """
    import ctypes  # noqa: PLC0415
    import struct  # noqa: PLC0415

    load, equal, answer = 0x20, 0x15, 0x06
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (load, 0, 0, 4),
            (equal, 0, 10, AUDIT_ARCH_X86_64),
            (load, 0, 0, 0),
            (equal, 5, 0, NR_PRCTL),
            (equal, 0, 7, NR_SECCOMP),
            (load, 0, 0, 32),
            (equal, 0, 4, 0),
            (load, 0, 0, 36),
            (equal, 4, 2, 0),
            (load, 0, 0, 16),
            (equal, 1, 0, PR_GET_NO_NEW_PRIVS),
            (answer, 0, 0, 0x00050000),
            (answer, 0, 0, 0x7FFF0000),
            (answer, 0, 0, 0x0005000E),
        )
    )

    class Fprog(ctypes.Structure):
        """``struct sock_fprog``."""

        _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    fprog = ctypes.byref(Fprog(len(program) // 8, program))
    zero, one = ctypes.c_ulong(0), ctypes.c_ulong(1)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) or libc.syscall(
        ctypes.c_long(NR_SECCOMP), one, zero, fprog
    ):
        raise OSError(ctypes.get_errno(), "this process cannot be confined")


def memory(tool: str = "") -> None:
    """Print how much memory the process has, and how much of it is nobody else's."""
    if tool:
        confine(tool)
    with open("/proc/self/smaps_rollup") as file:  # noqa: PTH123 - pathlib is not loaded
        fields = dict(line.split(None, 1) for line in file)
    kib = {name: int(text.split()[0]) for name, text in fields.items() if name.endswith(":")}
    print(kib["Rss:"], kib["Private_Clean:"] + kib["Private_Dirty:"])


TASKS = {"confine": confine, "prove": prove, "import": importing, "code": code, "memory": memory}


def run(task: str, *words: str) -> None:
    """Do a task."""
    TASKS[task](*words)
