"""seccompgen: pinned kernel tables and policy files in, finished seccomp filters out."""

__version__ = "0.1.0"
