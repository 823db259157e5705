"""The kinds of diagnostics: stable codes for programs, whatever the messages say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Problem(Enum):
    """The kind of a diagnostic; its value is its code, whose meaning never changes."""

    # Files
    UNREADABLE_FILE = "unreadable-file"
    UNPRINTABLE_NAME = "unprintable-name"
    FILE_EXISTS = "file-exists"
    TOO_LARGE = "too-large"
    MALFORMED_FILE = "malformed-file"

    # The form of a policy
    UNKNOWN_KEY = "unknown-key"
    MISPLACED_KEY = "misplaced-key"
    MISSING_KEY = "missing-key"
    WRONG_VALUE = "wrong-value"
    TOO_MANY_ERRORS = "too-many-errors"

    # The meaning of a policy
    CIRCULAR_INCLUDE = "circular-include"
    DEEP_INCLUDE = "deep-include"
    UNKNOWN_GROUP = "unknown-group"
    REPEATED_GROUP = "repeated-group"
    CIRCULAR_GROUP = "circular-group"
    DEEP_GROUP = "deep-group"
    EMPTY_POLICY = "empty-policy"
    EMPTY_GROUP = "empty-group"
    UNKNOWN_ABI = "unknown-abi"
    ABI_WITHOUT_FILTERS = "abi-without-filters"
    ABI_LEFT_OUT = "abi-left-out"
    REPEATED_ABI = "repeated-abi"
    UNSERVED_ABI = "unserved-abi"
    CONFLICTING_FLAGS = "conflicting-flags"
    NO_LISTENER = "no-listener"
    UNKNOWN_CALL = "unknown-call"
    UNKNOWN_OPERATION = "unknown-operation"
    CALL_SKIPPED = "call-skipped"
    RULE_SKIPPED = "rule-skipped"
    GROUP_SKIPPED = "group-skipped"
    NUMBER_WITHOUT_ARCHES = "number-without-arches"
    FOREIGN_NUMBER = "foreign-number"
    MULTIPLEXED_UNSAID = "multiplexed-unsaid"
    DEAD_RULE = "dead-rule"
    HIDDEN_CALLS = "hidden-calls"
    REPEATED_RULE = "repeated-rule"
    DIFFERENT_KERNELS = "different-kernels"
    KERNEL_AHEAD = "kernel-ahead"
    UNCERTAIN_AGE = "uncertain-age"
    NEWER_GROUP = "newer-group"
    NOT_IN_OCI_PROFILE = "not-in-oci-profile"
    NOT_IN_MINIJAIL = "not-in-minijail"
    NOT_IN_SECCOMPILER = "not-in-seccompiler"
    NOT_REPORT_ONLY = "not-report-only"
    RINGS_NOT_SUPPORTED = "rings-not-supported"
    NOT_MIRRORED = "not-mirrored"
    REPORT_ONLY = "report-only"
    ACCEPTED_LOSS = "accepted-loss"

    # Policies in other people's formats
    WRONG_STATEMENT = "wrong-statement"
    TOOLS_DIFFER = "tools-differ"
    INCLUDE_ELSEWHERE = "include-elsewhere"
    NOT_IN_UNIT = "not-in-unit"
    OTHER_FILTER = "other-filter"
    IGNORED_TEXT = "ignored-text"
    INEFFECTIVE_LIMIT = "ineffective-limit"
    OPPOSITE_EFFECT = "opposite-effect"
    MISSING_PART = "missing-part"

    # The conditions of a policy
    WRONG_EXPRESSION = "wrong-expression"
    LARGE_CONDITION = "large-condition"
    UNKNOWN_CONSTANT = "unknown-constant"
    CONSTANT_MISSING = "constant-missing"
    CONSTANT_SKIPPED = "constant-skipped"
    UNKNOWN_ARGUMENT = "unknown-argument"
    ARGUMENT_MISSING = "argument-missing"
    ARGUMENT_SKIPPED = "argument-skipped"
    NO_SUCH_ARGUMENT = "no-such-argument"
    NEGATIVE_ORDER = "negative-order"
    VALUE_TOO_WIDE = "value-too-wide"
    MASK_NEVER_MATCHES = "mask-never-matches"
    ALWAYS_TRUE = "always-true"

    # Profiles of how often calls are made
    WRONG_PROFILE = "wrong-profile"
    UNKNOWN_PROFILED_CALL = "unknown-profiled-call"

    # The FILTER arguments of a command line
    NO_SUCH_FILTER = "no-such-filter"
    NO_FILTERS = "no-filters"
    SEVERAL_FILTERS = "several-filters"
    STOCK_POLICY_MEANT = "stock-policy-meant"
    NO_RULES = "no-rules"
    ABI_NEEDED = "abi-needed"
    ABI_MISSING = "abi-missing"
    FOREIGN_MODULE = "foreign-module"
    FOREIGN_MANIFEST = "foreign-manifest"
    NO_BANNER = "no-banner"
    REFUSED_PROGRAM = "refused-program"

    # The sources of a filter
    POLICY_NEEDED = "policy-needed"
    SOURCE_MISSING = "source-missing"
    OTHER_TABLES = "other-tables"
    STALE_MODULE = "stale-module"
    OTHER_RUNTIME = "other-runtime"
    SHADOWED_MODULE = "shadowed-module"

    # Assembly
    WRONG_ASSEMBLY = "wrong-assembly"

    # Filters combined
    FEW_FILTERS = "few-filters"
    NO_COMMON_ABI = "no-common-abi"
    ACTION_NEEDED = "action-needed"
    CONFLICTING_SETTINGS = "conflicting-settings"
    REPLACED_FILTER = "replaced-filter"
    NOT_COMBINED = "not-combined"
    LONG_PROGRAM = "long-program"
    RULES_IN_ORDER = "rules-in-order"
    WRONG_PROGRAM = "wrong-program"

    # Reasons why a filter cannot be analysed
    MIXED_WORDS = "mixed-words"
    ARCH_COMPARED = "arch-compared"
    ARCH_UNCHECKED = "arch-unchecked"
    POINTER_COMPARED = "pointer-compared"
    SCATTERED_NUMBERS = "scattered-numbers"
    UNKNOWN_ACTION = "unknown-action"
    TOO_MANY_CASES = "too-many-cases"


@dataclass(frozen=True, slots=True)
class RuleCode:
    """The code of a lint rule, the ``kind`` of its findings; the rule's file declares it."""

    value: str
