"""Lines of Perl, as Perl says them itself."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import running_kernel as kernel
from tracing import NOTIFY, PTRACE, run

kernel.require_x86_64()
PERL = Path("/usr/bin/perl")

SCRIPT = """use strict;
BEGIN {
    warn getppid();
}
sub f {
    my $x = shift;
    if ($x > 0) {
        getppid();  # the block's only statement, of which nothing is left but where it was
    }
    if ($x > 1) {
        warn getppid();
    }
    for my $i (1) {
        warn getppid() if $i;
    }
    unless ($x > 9) {
        warn getppid() }
    return
        warn getppid()
        . $x;
}
f(2);
my @mapped = map { { x => (
    warn getppid() ) } } (1);
my @sorted = sort { warn getppid();
    $a <=> $b } 3, 1;
warn "made",
    1 && getppid(
    );
eval "\\n\\nwarn getppid();";
do { warn getppid() } while (0);
if (my $child = fork) {
    waitpid $child, 0;
} elsif ($child == 0) {
    if (1) { warn getppid() }
    exit;
}
# line 700 "elsewhere"
warn getppid();
"""


@pytest.mark.parametrize("how", [NOTIFY, PTRACE], ids=["notify", "ptrace"])
def test_the_line_of_a_call_is_that_of_perls_own_messages(
    how: list[str], no_parent: Path, tmp_path: Path
) -> None:
    options = ["-V:useithreads"]
    if not PERL.exists() or b"define" not in subprocess.check_output([PERL, *options]):
        pytest.skip("no perl with threads")
    script, told = tmp_path / "gréat.pl", tmp_path / "told.json"
    script.write_text(SCRIPT, encoding="utf-8")
    done = run(*how, "--json", "-o", told, no_parent, "--", PERL, script)
    said = re.findall(r" at (.*) line (\d+)\.", done.err)
    assert len(said) == 12
    assert said[0] == (str(script), "3")
    said.insert(1, (str(script), "8"))  # what says nothing itself
    refused = [json.loads(line) for line in told.read_text().splitlines()]
    assert [one["perl"] for one in refused] == [[f"{file}:{line}"] for file, line in said]
    assert not any(one["python"] for one in refused)


def test_a_program_that_only_has_the_name_has_no_line(no_parent: Path, tmp_path: Path) -> None:
    program = tmp_path / "perl"
    program.write_bytes(Path("/bin/sh").read_bytes())
    program.chmod(0o755)
    made = run("--trace", "--json", no_parent, "--", program, "-c", ": $PPID")
    assert made.err
    for line in made.err.splitlines():
        assert json.loads(line)["perl"] == []
