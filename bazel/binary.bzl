"""seccompgen_binary runs seccompgen from a folder that pip installed it into.

For workspaces without rules_python. It needs no other rules and no toolchain. The files are inputs of
each action; the interpreter is the machine's, and is no input unless it is a file of the workspace.
"""

_MAIN = "seccompgen/__main__.py"

_SCRIPT = """\
#!/bin/sh
root="$0.runfiles/{workspace}"
exec {python} -I -B -c '
import sys
sys.path.insert(0, sys.argv.pop(1))
sys.argv[0] = "seccompgen"
from seccompgen.__main__ import program
program()' "$root/{site}" "$@"
"""

def _seccompgen_binary_impl(ctx):
    mains = [file for file in ctx.files.site if file.short_path.endswith("/" + _MAIN)]
    if len(mains) != 1:
        fail("site: one of the files must be %s; is this a folder of `pip install --target`?" % _MAIN)
    if bool(ctx.file.python) == bool(ctx.attr.python_path):
        fail("name the interpreter, by python, a file, or by python_path, where every machine has it")
    python = "\"$root/%s\"" % ctx.file.python.short_path if ctx.file.python else ctx.attr.python_path
    script = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(
        output = script,
        content = _SCRIPT.format(
            python = python,
            site = mains[0].short_path[:-len(_MAIN) - 1],
            workspace = ctx.workspace_name,
        ),
        is_executable = True,
    )
    runfiles = ctx.files.site + ctx.files.python
    return [DefaultInfo(executable = script, runfiles = ctx.runfiles(files = runfiles))]

seccompgen_binary = rule(
    implementation = _seccompgen_binary_impl,
    doc = "Runs seccompgen from the files that `pip install --target` wrote.",
    attrs = {
        "site": attr.label_list(
            doc = "All files below the folder.",
            allow_files = True,
            mandatory = True,
        ),
        "python": attr.label(
            doc = "The interpreter, 3.11 or newer, as a file.",
            allow_single_file = True,
        ),
        "python_path": attr.string(
            doc = "Or the absolute path at which every machine has one.",
        ),
    },
    executable = True,
)
