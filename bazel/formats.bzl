"""The formats of `seccompgen build --format`: written by 'make pages'."""

FORMATS = [
    "python",
    "bpf",
    "c",
    "go",
    "js",
    "launcher",
    "rust",
    "minijail",
    "oci",
    "seccompiler",
    "spo",
    "systemd",
]
