"""Renderers: finished values in, the bytes of files out. Templates hold the form, not logic.

Here are those that most commands need. What few need, such as C or profiles, has a module each,
which is imported where it is used.
"""

from seccompgen.render.call import (
    answer_style,
    answer_texts,
    argument_text,
    call_name,
    call_text,
    difference_text,
)
from seccompgen.render.listing import Line, listing, ret_action
from seccompgen.render.templates import NOTIFICATION_NAME, RUNTIME_NAME, RUNTIME_NAMES, render_text

__all__ = [
    "NOTIFICATION_NAME",
    "RUNTIME_NAME",
    "RUNTIME_NAMES",
    "Line",
    "answer_style",
    "answer_texts",
    "argument_text",
    "call_name",
    "call_text",
    "difference_text",
    "listing",
    "render_text",
    "ret_action",
]
