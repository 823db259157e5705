"""Seccomp profiles of the OCI runtime specification and of Kubernetes, read and written."""
