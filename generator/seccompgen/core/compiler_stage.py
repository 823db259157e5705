"""The stages of the compiler whose results can be printed."""

from __future__ import annotations

from enum import Enum


class CompilerStage(Enum):
    """A stage of the compiler, by the result that it can print."""

    DECISIONS = "decisions"
    """The action for each call number, or the function that computes it from the arguments."""
    FUNCTIONS = "functions"
    """The rules of each function, in its canonical form."""
    PLANS = "plans"
    """The order in which each function tests the words of arguments."""
    WORDS = "words"
    """The tests on each word."""
    DIAGRAM = "diagram"
    """All tests as one graph, including those of the call number."""
    REJOINED = "rejoined"
    """The same graph, with paths joined again where they can be."""
    PROGRAM = "program"
    """The instructions."""
