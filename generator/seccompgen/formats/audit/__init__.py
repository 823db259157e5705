"""The kernel's records of seccomp, as policies that allow what they report."""
