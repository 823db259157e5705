"""seccomp_filter compiles a policy into a proved filter, by an action that remote caches can answer.

All that decides a filter is an input of the action: the policy, what it includes, the profile, the
tables if they are not the shipped ones, and seccompgen. Nothing is looked up on the host, and
nothing is kept between actions. So the same inputs have the same key and the same bytes everywhere.
"""

load(":formats.bzl", "FORMATS")

_OPTIMIZE = ["balanced", "speed", "size"]

# The lock lies among the tables that `seccompgen tables -o DIR` writes, so its folder is DIR.
_LOCK = "kernel.lock.toml"

def _tables_directory(files):
    """Returns the directory of the tables, of which the lock is one."""
    found = [file.dirname for file in files if file.basename == _LOCK]
    if len(found) != 1:
        fail("tables: name all files that `seccompgen tables -o DIR` wrote; there must be one %s among them" % _LOCK)
    return found[0]

def _seccomp_filter_impl(ctx):
    output = ctx.actions.declare_directory(ctx.label.name)
    inputs = [ctx.file.policy] + ctx.files.includes + ctx.files.tables

    args = ctx.actions.args()
    args.add("build")
    args.add(ctx.file.policy)
    args.add_all("-o", [output], expand_directories = False)
    args.add("--format", ctx.attr.format)
    args.add("--optimize", ctx.attr.optimize)
    args.add_all(ctx.attr.arches, before_each = "--arch")
    args.add("--no-cache")  # Bazel has one
    args.add("--jobs", "1")  # Bazel runs other actions beside it
    if not ctx.attr.bitmap:
        args.add("--no-bitmap")
    if ctx.file.profile:
        args.add("--profile", ctx.file.profile)
        inputs.append(ctx.file.profile)
    if ctx.files.tables:
        args.add("--tables", _tables_directory(ctx.files.tables))

    ctx.actions.run(
        executable = ctx.executable._seccompgen,
        arguments = [args],
        inputs = inputs,
        outputs = [output],
        mnemonic = "SeccompFilter",
        progress_message = "Compiling seccomp filter %s" % ctx.label,
        # No variable of the machine or of the user gets in; str.encode and open() are UTF-8.
        env = {"LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONHASHSEED": "0"},
        execution_requirements = {"block-network": "1"},
    )
    return [DefaultInfo(
        files = depset([output]),
        runfiles = ctx.runfiles(files = [output]),
    )]

seccomp_filter = rule(
    implementation = _seccomp_filter_impl,
    doc = "Compiles a policy into a directory NAME, as `seccompgen build POLICY -o NAME` does.",
    attrs = {
        "policy": attr.label(
            doc = "The policy file, in any format that seccompgen tells by its content.",
            allow_single_file = True,
            mandatory = True,
        ),
        "includes": attr.label_list(
            doc = "The files that the policy includes, and those that they include.",
            allow_files = True,
        ),
        "arches": attr.string_list(
            doc = "Programs for these ABIs only. Empty: for all that the policy names.",
        ),
        "format": attr.string(
            doc = "The format of the output, as of `seccompgen build --format`.",
            default = "python",
            values = FORMATS,
        ),
        "optimize": attr.string(
            doc = "The aim of the optimiser, as of `seccompgen build --optimize`.",
            default = "balanced",
            values = _OPTIMIZE,
        ),
        "bitmap": attr.bool(
            doc = "False for kernels before 5.11, which run the filter for every call.",
            default = True,
        ),
        "profile": attr.label(
            doc = "A profile of how often which call is made.",
            allow_single_file = True,
        ),
        "tables": attr.label_list(
            doc = "All files that `seccompgen tables -o DIR` wrote. Empty: the shipped tables.",
            allow_files = True,
        ),
        "_seccompgen": attr.label(
            default = Label("//:seccompgen"),
            executable = True,
            cfg = "exec",
        ),
    },
)
