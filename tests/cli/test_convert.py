"""``seccompgen convert``: what it writes, and what it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from command import inside, snapshot

if TYPE_CHECKING:
    from pathlib import Path


def test_no_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.policy").write_text("read: 1\n")
    (tmp_path / "mine.yml").write_text("# mine\n")
    (tmp_path / "link.yml").symlink_to("nowhere")
    before = snapshot(tmp_path)
    for name in ("a.policy", "mine.yml", "link.yml", "/dev/full"):
        run = inside("convert", "a.policy", "--for", "x86_64", "-o", name, cwd=tmp_path)
        assert (run.code, run.out) == (2, "")
        assert run.err.endswith(
            f"{name}: is there already: name another file, or remove it first\n"
        )
    assert snapshot(tmp_path) == before
    for _ in range(2):  # the same content again is no replacement
        run = inside("convert", "a.policy", "--for", "x86_64", "-o", "new.yml", cwd=tmp_path)
        assert run.code == 0, run.err
    assert inside("equiv", "a.policy", "new.yml", "--for", "x86_64", cwd=tmp_path).code == 0
