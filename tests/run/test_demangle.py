"""Names of C++ and Rust as people know them; tests/ecosystem compares all of a library's."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import running_kernel as kernel
from command import forked
from hypothesis import given, settings
from hypothesis import strategies as st
from seccompgen.run.demangle import readable

if TYPE_CHECKING:
    from pathlib import Path

NAMES = {
    "main": "main",
    "__libc_start_call_main": "__libc_start_call_main",
    "runtime.main": "runtime.main",
    # C++
    "_Z4workv": "work",
    "_ZN4here5AskerIiE3askESt6vectorIiSaIiEE": "here::Asker::ask",
    "_ZN4here5AskerINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEED2Ev": (
        "here::Asker::~Asker"
    ),
    "_ZN4here12_GLOBAL__N_16hiddenEv": "here::(anonymous namespace)::hidden",
    "_ZZ4mainENKUliE_clEi": "main::{lambda#1}::operator()",
    "_ZZ4mainENKUlT_E0_clIiEEDaS_": "main::{lambda#2}::operator()",
    "_ZNSt10filesystem16create_directoryERKNS_7__cxx114pathERSt10error_code": (
        "std::filesystem::create_directory"
    ),
    "_ZlsRSoRK5Asker": "operator<<",
    "_ZNK5AskercvbEv": "Asker::operator bool",
    "_Zli2_swe": 'operator"" _s',
    "_ZnwmRKSt9nothrow_t": "operator new",
    "_ZThn16_N4here5Asker3askEv": "non-virtual thunk to here::Asker::ask",
    "_ZN4here3runIXadL_ZNS_4workEvEEEEDTcl1fEEv": "here::run",
    "_ZN4here4sizeB5cxx11Ev.cold": "here::size.cold",
    "_ZNSs6appendEPKc": "std::string::append",
    "_ZN1aaSERKS_": "a::operator=",
    "_ZN1appEi": "a::operator++",
    "_ZN1acoEv": "a::operator~",
    "_ZltIiEbT_S0_": "operator<",
    "_ZlsIiEbT_S0_": "operator<<",
    "_ZN1adaEPv": "a::operator delete[]",
    "_ZNK1acvPKS_Ev": "a::operator a const*",
    "_ZN1aIXgtLi1ELi0EEE1fEv": "a::f",
    "_ZTWN1a1bE": "thread-local wrapper routine for a::b",
    # Rust, legacy
    "_ZN1t11A$LT$u8$GT$3own17h2646b54c8bb5d176E": "t::A<u8>::own",
    "_ZN40_$LT$t..A$LT$T$GT$$u20$as$u20$t..Ask$GT$3ask17hb29ee87678e2b59aE": (
        "<t::A<T> as t::Ask>::ask"
    ),
    "_ZN4core3ptr60drop_in_place$LT$alloc..boxed..Box$LT$dyn$u20$t..Ask$GT$$GT$"
    "17he493f88e8ec13c9eE.llvm.18245028061678497602": (
        "core::ptr::drop_in_place<alloc::boxed::Box<dyn t::Ask>>"
    ),
    # Rust, v0
    "_RNvCs1234_7mycrate4work": "mycrate::work",
    "_RNCNCNvNtCs4fqI2P2rA04_3std2rt10lang_start0s_0": (
        "std::rt::lang_start::{closure#0}::{closure#1}"
    ),
    "_RNvMNtCs1_1a1bINtB2_4CellhE3get": "<a::b::Cell<u8>>::get",
    "_RNvXs_Cs1_1tINtB4_1AReENtB4_3Ask3ask": "<t::A<&str> as t::Ask>::ask",
    "_RINvCs1_1a1fTRjQSeEKj2a_FEuECs2_1b": "a::f",
    "_RNvNtCs1_1tu9gre_6ka8i4work": "t::größe::work",
}


@pytest.mark.parametrize("mangled", NAMES)
def test_a_name_is_the_path_that_its_programmer_wrote(mangled: str) -> None:
    assert readable(mangled) == NAMES[mangled]


@pytest.mark.parametrize(
    "mangled",
    [
        "_Z",
        "_R",
        "_ZN",
        "_ZNE",
        "_Zzz",
        "_ZN9999999999aE",
        "_ZN99aE",
        "_RNvB_1a",
        "_RNvCs1_1tu2__1a",
        "_RNvX" + "Y" * 900,
        "_RNvCs1_1t" + "99999" + "a" * 40,
        "_ZN" + "1a" * 2000 + "E",
    ],
)
def test_what_is_not_understood_stays_as_it_is(mangled: str) -> None:
    assert readable(mangled) == mangled


def test_what_refers_to_itself_again_and_again_costs_little() -> None:
    """Tuples that have the one before twice are as long as 2**30, and take as long to write."""
    name, last = "INvC1a1f", "h"
    for _ in range(30):
        place = len(name)
        name += f"T{last}{last}E"
        last = f"B{in_base_62(place)}_"
    assert readable(f"_R{name}E") == f"_R{name}E"
    assert readable("_RINvC1a1fThhETB8_B8_EE") == "a::f"


def in_base_62(place: int) -> str:
    """Return a place behind the first as names have it."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    place -= 1
    return digits[place // 62] * (place > 61) + digits[place % 62]


@settings(max_examples=200)
@given(st.sampled_from(sorted(NAMES)), st.integers(0, 2**32))
def test_broken_names_are_shown_and_nothing_more(name: str, seed: int) -> None:
    rng = random.Random(seed)
    letters = list(name)
    for _ in range(rng.randint(1, 4)):
        if len(letters) < 4:
            break
        at = rng.randrange(2, len(letters))
        change = rng.choice("NIEXJLZFSTBRKDC_0123abvst²é")
        match rng.randrange(3):
            case 0:
                letters[at] = change
            case 1:
                letters.insert(at, change)
            case _:
                del letters[at:]
    assert isinstance(readable("".join(letters)), str)


SOURCE = r"""
long ask(void) asm("_ZN4here5AskerIiE3askEv");
__attribute__((noinline)) long ask(void) {
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(110) : "rcx", "r11", "memory");
    return result;
}
long work(void) asm("_ZN5crate4work17h2646b54c8bb5d176E");
__attribute__((noinline)) long work(void) { return ask() + 1; }
int main(void) { return work() == 0; }
"""


def test_a_place_is_shown_by_the_name_that_people_know(tmp_path: Path) -> None:
    kernel.require_x86_64()
    program, source = tmp_path / "program", tmp_path / "program.c"
    source.write_text(SOURCE)
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    subprocess.run(["gcc", "-O1", "-o", program, source], check=True)
    policy = tmp_path / "policy.yml"
    policy.write_text("default_action: allow\nsyscalls:\n- {action: errno, names: [getppid]}\n")
    told = json.loads(forked("run", "--trace", "--json", policy, "--", program).err)
    stack = [told["place"], *told["callers"]]
    assert [one["function"] for one in stack] == ["here::Asker::ask", "crate::work", "main"]


def test_a_short_name_that_says_megabytes_stays() -> None:
    name = f"_Z1f400{'a' * 400}1xIS_S_S_E"
    for level in range(1, 7):  # each template has the one before it three times
        name += f"S0_I{3 * f'S{level}_'}E"
    assert readable(name) == name
