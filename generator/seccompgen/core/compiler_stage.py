"""The stages of the compiler whose results can be printed."""

from __future__ import annotations

from enum import Enum


class CompilerStage(Enum):
    """What the compiler knows of a program, pass by pass."""

    DECISIONS = "decisions"
    """The answer to each number, or the function of the arguments that gives it."""
    FUNCTIONS = "functions"
    """The rules of each function, in its canonical form."""
    PLANS = "plans"
    """The order of the words that each function looks at."""
    WORDS = "words"
    """The tests on each word."""
    DIAGRAM = "diagram"
    """All tests as one graph, with those on the number."""
    REJOINED = "rejoined"
    """The same, where paths that can meet again do."""
    PROGRAM = "program"
    """The instructions."""
