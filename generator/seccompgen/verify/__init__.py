"""What a program does, decided: is it the policy, and will a kernel take it."""

from seccompgen.verify.kernel import kernel_objections

__all__ = ["kernel_objections"]
