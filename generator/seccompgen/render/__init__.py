"""Renderers: finished values in, the bytes of files out. Templates hold the form, not logic."""

from seccompgen.render.call import answer_style, answer_texts, argument_text, call_name, call_text
from seccompgen.render.depfile import render_depfile
from seccompgen.render.disassembly import disassembly
from seccompgen.render.filter_module import (
    Form,
    combined_docstring,
    inlined_runtime,
    module_tree,
    policy_docstrings,
    program_module,
    program_tree,
    render_combined,
    render_filter,
    render_package,
    render_runtime,
    render_single_file,
)
from seccompgen.render.listing import Line, listing, ret_action
from seccompgen.render.minijail import render_minijail
from seccompgen.render.oci import render_profile, render_spo
from seccompgen.render.seccompiler import render_seccompiler
from seccompgen.render.sources import render_c, render_go, render_rust
from seccompgen.render.table_module import render_table, render_tables_package
from seccompgen.render.templates import NOTIFICATION_NAME, RUNTIME_NAME, RUNTIME_NAMES, render_text

__all__ = [
    "NOTIFICATION_NAME",
    "RUNTIME_NAME",
    "RUNTIME_NAMES",
    "Form",
    "Line",
    "answer_style",
    "answer_texts",
    "argument_text",
    "call_name",
    "call_text",
    "combined_docstring",
    "disassembly",
    "inlined_runtime",
    "listing",
    "module_tree",
    "policy_docstrings",
    "program_module",
    "program_tree",
    "render_c",
    "render_combined",
    "render_depfile",
    "render_filter",
    "render_go",
    "render_minijail",
    "render_package",
    "render_profile",
    "render_runtime",
    "render_rust",
    "render_seccompiler",
    "render_single_file",
    "render_spo",
    "render_table",
    "render_tables_package",
    "render_text",
    "ret_action",
]
