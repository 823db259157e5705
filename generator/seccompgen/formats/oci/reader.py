"""Translate OCI profiles into our language, as runtimes and libseccomp understand them.

runc, crun and libseccomp itself differ. runc answers ENOSYS to numbers above the highest that a
profile names. libseccomp refuses two comparisons of one argument; the runtimes make two rules of
them. Without ``flags`` in the file, the runtimes set SPEC_ALLOW.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from seccompgen.core.abis import ABIS, serves_both
from seccompgen.core.ages import release_known
from seccompgen.core.errors import Diagnostic, InputError, Position
from seccompgen.core.foreign import Reading, Runtime
from seccompgen.core.model import ActionKind
from seccompgen.core.multiplexed import MULTIPLEXED, entrance
from seccompgen.core.problems import Problem
from seccompgen.core.settings import FilterFlag
from seccompgen.core.tables import release
from seccompgen.core.text import some
from seccompgen.formats.draft import Draft, Entry
from seccompgen.formats.oci.calls import AbiRules, CallRule, call_rules, repeats, rule_pieces
from seccompgen.formats.oci.form import ContainerProfile, parse_profile
from seccompgen.formats.oci.kubernetes import objects, one_profile
from seccompgen.formats.oci.runc_stub import ENOSYS, last_named, may_have_stub, write_enosys
from seccompgen.formats.source_comments import SourceComment, line_comments
from seccompgen.policy.document import read_document
from seccompgen.policy.plain_json import require_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seccompgen.core.abis import Abi
    from seccompgen.core.tables import Tables
    from seccompgen.formats.oci.form import ProfileEntry, Where
    from seccompgen.policy.document import Document

DOCKER_CAPABILITIES = frozenset(
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"),
        *("SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    )
)
"""The capabilities that Docker gives a container by default."""
_HOSTS = ("x86_64", "aarch64", "riscv64", "loongarch64", "ppc64le", "s390x")
"""The machines that a profile is read for if it names none."""


def read(text: str, file: str, reading: Reading, tables: Tables) -> Draft:
    """Return the policy that a profile expresses."""
    draft = Draft(file)
    text = one_profile(text, reading.thread, draft)
    # JSON may be indented by tabs, which are no blanks to YAML.
    plain = text.replace("\t", " ") if text.lstrip().startswith("{") else text
    document = read_document(plain.encode(), f"{file}.json" if file.endswith(".toml") else file)
    if plain.lstrip().startswith("{") and "kind" not in document.data:
        require_json(plain, file)
    if not plain.lstrip().startswith("{"):
        draft.comments += line_comments(text, file, trailing=True)
    profile = parse_profile(document, reading.runtime, draft.notes)
    _describe(draft, document)
    write_profile(profile, draft, reading, tables)
    return draft


def _describe(draft: Draft, document: Document) -> None:
    """Set the description that an object of Kubernetes has as an annotation."""
    path, found = ("metadata", "annotations", "description"), document.data
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, str) and found.isprintable():
        draft.setting("description", found, document.position(path))


def filter_names(text: str, file: str) -> tuple[str, ...]:
    """Return the names of profiles among Kubernetes' objects; none if the file is one profile."""
    del file
    found = objects(text)
    return tuple(one.name for one in found.profiles) if found else ()


def write_profile(
    profile: ContainerProfile, draft: Draft, reading: Reading, tables: Tables
) -> None:
    """Translate ``profile`` into ``draft``. Raises InputError with all that cannot be expressed."""
    _Translation(profile, draft, reading, tables).write()
    written = {*draft.groups.values()}
    draft.comments += _comments(one for one in profile.entries if one.position in written)


def _comments(entries: Iterable[ProfileEntry]) -> Iterator[SourceComment]:
    """Yield the comments of entries, and what they are for; each of these begins a paragraph."""
    before: tuple[str, ...] = ()
    for entry in entries:
        where = entry.position
        lines = (*entry.comment.splitlines(), *_conditions_text(entry.includes, entry.excludes))
        if lines != before:
            yield SourceComment(where, None)
            yield from (SourceComment(where, line) for line in lines)
        before = lines


def _conditions_text(needs: Where, without: Where) -> Iterator[str]:
    """Yield the capabilities, machines and kernels that an entry is for."""
    if needs.caps:
        yield f"with {', '.join(needs.caps)}"
    if without.caps:
        yield f"without {', '.join(without.caps)}"
    if needs.arches:
        yield f"for {', '.join(dict.fromkeys(needs.arches))}"
    if without.arches:
        yield f"not for {', '.join(dict.fromkeys(without.arches))}"
    if needs.kernel:
        yield f"for Linux {'.'.join(map(str, needs.kernel))} and newer"
    if without.kernel:
        yield f"for Linux older than {'.'.join(map(str, without.kernel))}"


@dataclass
class _Translation:
    profile: ContainerProfile
    draft: Draft
    reading: Reading
    tables: Tables
    problems: list[Diagnostic] = field(default_factory=list)
    position: Position = field(init=False)
    _noted: set[Diagnostic] = field(default_factory=set)
    _has_stub: bool = False
    """True if runc answers numbers above the highest named one otherwise than the default."""

    def __post_init__(self) -> None:
        self.position = self.profile.position

    def write(self) -> None:
        hosts = self._hosts()
        kept = self._entries_of(hosts)
        self._check_notify(kept)
        self._check_repeats(kept)
        if self.problems:
            raise InputError(*sorted(self.problems, key=lambda one: one.position or self.position))
        abis = list(dict.fromkeys(abi for host, others in hosts.items() for abi in (host, *others)))
        rules = self._rules(kept, abis)
        if self.problems:
            raise InputError(*sorted(self.problems, key=lambda one: one.position or self.position))
        last = {one.table.abi.name: 0 for one in rules}
        if may_have_stub(self.profile.default, self.reading.runtime):
            for one in rules:
                name = one.table.abi.name
                last[name] = last_named(one.table, kept[name])
                if last[name]:
                    one.drop_above(last[name])
        enosys = [self.profile.default.ret(abi) == ENOSYS.ret(abi) for abi in abis]
        self._has_stub = any(last.values()) and not all(enosys)
        self._settings(hosts, abis, kept)
        self._write_entrances(rules, last)
        self._write_rules(rules)
        if self._has_stub:
            write_enosys(self.profile, self.draft, [one.table for one in rules], last)
        self._note_unknown(kept)
        self._note_kernel()

    # --- machines ----------------------------------------------------------------------------

    def _hosts(self) -> dict[Abi, tuple[Abi, ...]]:
        """Return the machines that the profile is for, and the other ABIs of each filter."""
        wanted = [ABIS[name] for name in self.reading.abis]
        if self.profile.machines:
            maps = {main: others for main, others, _ in self.profile.machines}
            hosts = wanted or [abi for abi in maps if self._has(abi)]
            found = {host: maps.get(host, ()) for host in hosts}
        elif self.profile.architectures:
            listed = [abi for abi, _ in self.profile.architectures]
            if wanted:
                hosts = wanted
            else:
                # An ABI that goes with another one is served by the other's programs.
                hosts = [
                    abi
                    for abi in dict.fromkeys(listed)
                    if not any(
                        abi.name in o.siblings and o.bits >= abi.bits and abi.name != "x86_64"
                        for o in listed
                    )
                ]
                # No machine's own ABI is x32.
                hosts = [ABIS["x86_64"] if abi.name == "x32" else abi for abi in hosts]
                hosts = [abi for abi in hosts if self._has(abi)]
            found = {host: tuple(listed) for host in hosts}
        else:
            hosts = wanted or [ABIS[name] for name in _HOSTS if self._has(ABIS[name])]
            found = dict.fromkeys(hosts, ())
        if not found:
            text = f"Linux {self.tables.tag} has no seccomp filters on any of its architectures"
            self.problems.append(Diagnostic(text, self.position, Problem.ABI_LEFT_OUT))
        return {
            host: tuple(
                dict.fromkeys(
                    abi
                    for abi in others
                    if abi != host and self._has(abi) and serves_both(host, abi)
                )
            )
            for host, others in found.items()
        }

    def _has(self, abi: Abi) -> bool:
        table = self.tables.tables.get(abi.name)
        return table is not None and table.has_filters

    def _entries_of(self, hosts: dict[Abi, tuple[Abi, ...]]) -> dict[str, tuple[ProfileEntry, ...]]:
        """Return the entries of each ABI, by name: those for the machines that it belongs to."""
        found: dict[str, tuple[ProfileEntry, ...]] = {}
        owner: dict[str, Abi] = {}
        for host, others in hosts.items():
            entries = tuple(one for one in self.profile.entries if self._is_for(one, host))
            for abi in (host, *others):
                if found.setdefault(abi.name, entries) != entries:
                    text = (
                        f"the profile has other rules for {abi.name} on {host.name} than on "
                        f"{owner[abi.name].name}: say with --for which machine is meant"
                    )
                    self.problems.append(
                        Diagnostic(text, self.position, Problem.CONFLICTING_SETTINGS)
                    )
                owner.setdefault(abi.name, host)
        return found

    @property
    def _kernel(self) -> tuple[int, ...]:
        return self.reading.kernel or release(self.tables.tag)

    def _is_for(self, entry: ProfileEntry, host: Abi) -> bool:
        caps = DOCKER_CAPABILITIES if self.reading.caps is None else self.reading.caps
        kernel = self._kernel
        needs, without = entry.includes, entry.excludes
        if any(cap in caps for cap in without.caps) or host.name in without.arches:
            return False
        if without.kernel and kernel >= without.kernel:
            return False
        if not all(cap in caps for cap in needs.caps):
            return False
        if needs.arches and host.name not in needs.arches:
            return False
        return not needs.kernel or kernel >= needs.kernel

    # --- rules -------------------------------------------------------------------------------

    def _check_notify(self, kept: dict[str, tuple[ProfileEntry, ...]]) -> None:
        if self.profile.default.kind is ActionKind.USER_NOTIF:
            text = "runtimes refuse SCMP_ACT_NOTIFY as the default: they need calls themselves"
            where = self.profile.default_position
            self.problems.append(Diagnostic(text, where, Problem.WRONG_VALUE))
        for entry in _entries(kept):
            for name, where in entry.names:
                if entry.action.kind is ActionKind.USER_NOTIF and name == "write":
                    text = "runtimes refuse SCMP_ACT_NOTIFY for write, which they need themselves"
                    self.problems.append(Diagnostic(text, where, Problem.WRONG_VALUE))

    def _check_repeats(self, kept: dict[str, tuple[ProfileEntry, ...]]) -> None:
        for entry in _entries(kept):
            if not repeats(entry) or entry.action == self.profile.default:
                continue
            where = entry.matches[-1].position
            if self.reading.runtime is Runtime.LIBSECCOMP:
                text = "libseccomp refuses a second comparison of one argument: make two rules"
                self.problems.append(Diagnostic(text, where, Problem.WRONG_VALUE))
            else:
                text = (
                    "one argument is compared twice, so runtimes make a rule of each comparison "
                    "here: any one that holds is enough"
                )
                self.draft.note(text, where, Problem.WRONG_VALUE)

    def _rules(
        self, kept: dict[str, tuple[ProfileEntry, ...]], abis: Sequence[Abi]
    ) -> list[AbiRules]:
        found = []
        splits = self.reading.runtime is not Runtime.LIBSECCOMP
        places = {entry: i for i, entry in enumerate(self.profile.entries)}
        for abi in abis:
            rules = AbiRules(self.tables.tables[abi.name])
            entries = kept[abi.name]
            places_here = [places[entry] for entry in entries]
            for one in call_rules(entries, self.profile.default, splits=splits):
                rules.add(replace(one, entry=places_here[one.entry]))
            found.append(rules)
            for one in rules.never:
                self._note(f"this rule for {one.name!r} can never match", one, Problem.RULE_SKIPPED)
            for one, by in rules.hidden:
                text = f"{one.name!r} has a rule without comparisons at {by.position}, which "
                text += f"libseccomp takes alone: {by.action}; this one is skipped"
                self._note(text, one, Problem.RULE_SKIPPED)
            for one in rules.doubtful():
                text = (
                    f"libseccomp up to 2.6 can answer calls of {one.name!r} otherwise than its "
                    "rules say: several compare by order or !=; make them one rule, or use masks"
                )
                self._note(text, one, Problem.CONFLICTING_SETTINGS)
            for before, one in rules.clashes():
                text = (
                    f"some calls of {one.name!r} match this rule, {one.action}, and that at "
                    f"{before.position}, {before.action}; libseccomp refuses that, or "
                    "what it answers is not said anywhere: make the two exclude each other"
                )
                self.problems.append(Diagnostic(text, one.position, Problem.CONFLICTING_SETTINGS))
        self.problems = list(dict.fromkeys(self.problems))
        return found

    def _note(self, text: str, rule: CallRule, kind: Problem) -> None:
        found = Diagnostic(text, rule.position, kind)
        if found not in self._noted:
            self._noted.add(found)
            self.draft.notes.append(found)

    def _note_unknown(self, kept: dict[str, tuple[ProfileEntry, ...]]) -> None:
        known = self.tables.calls.union(*(names.split() for names in MULTIPLEXED.values()))
        for entry in _entries(kept):
            strange = [name for name, _ in entry.names if name not in known]
            if strange and entry.action != self.profile.default:
                where = next(at for name, at in entry.names if name == strange[0])
                text = (
                    f"Linux {self.tables.tag} has no {some(strange)}: skipped, as runtimes skip it"
                )
                self.draft.note(text, where, Problem.CALL_SKIPPED)

    def _note_kernel(self) -> None:
        for entry in self.profile.entries:
            least, most = entry.includes.kernel, entry.excludes.kernel
            if (least and self._kernel < least) or (most and self._kernel >= most):
                text = (
                    "this rule is not for the kernel, so it is left out, as by Docker; Podman and "
                )
                text += "CRI-O do not look at minKernel, and have it"
                found = Diagnostic(text, entry.position, Problem.RULE_SKIPPED)
                self.draft.notes.append(found)

    # --- what is written ---------------------------------------------------------------------

    def _settings(
        self,
        hosts: dict[Abi, tuple[Abi, ...]],
        abis: Sequence[Abi],
        kept: dict[str, tuple[ProfileEntry, ...]],
    ) -> None:
        profile, say = self.profile, self.draft.setting
        default = str(profile.default)
        compat = list(dict.fromkeys(abi.name for others in hosts.values() for abi in others))
        say("arches", [abi.name for abi in hosts], self.position)
        if compat:
            say("compat_arches", compat, self.position)
        say("default_action", default, profile.default_position)
        if self._has_stub:
            if kernel := release_known(self.tables, [abi.name for abi in abis]):
                say("kernel", kernel, profile.default_position)
            say("unknown_action", str(ENOSYS), profile.default_position)
        say("bad_arch_action", "kill_thread", self.position)
        if any(
            name in self.tables.tables[abi.name].numbers for abi in abis for name in MULTIPLEXED
        ):
            say("multiplexed", default, profile.default_position)
        flags = profile.flags
        if flags is None:
            plain = self.reading.runtime is Runtime.LIBSECCOMP
            flags = FilterFlag(0) if plain else FilterFlag.SPEC_ALLOW
        kinds = {entry.action.kind for entries in kept.values() for entry in entries}
        if ActionKind.USER_NOTIF in kinds:
            # libseccomp cannot set both; runtimes install filters before a second thread exists.
            flags = flags & ~FilterFlag.TSYNC | FilterFlag.NEW_LISTENER
        if flags:
            say("flags", list(flags.names), profile.flags_position)
        if profile.listener:
            text = (
                "who gets the listener is for whoever installs the filter to say: listenerPath and "
            )
            text += "listenerMetadata are not part of a policy"
            self.draft.note(text, profile.listener, Problem.NO_LISTENER)

    def _write_entrances(self, rules: Sequence[AbiRules], last: dict[str, int]) -> None:
        """Write complete rules for socketcall and ipc, so that no other rules apply to them."""
        for name in MULTIPLEXED:
            has = [one for one in rules if name in one.table.numbers]
            own = [(one, rule) for one in has for rule in one.rules() if rule.name == name]
            self._groups(own, rules)
            open_ = [
                one.table.abi.name
                for one in has
                if (number := one.table.numbers[name]) not in one.always
                and not 0 < last[one.table.abi.name] < number
            ]
            # Otherwise the rules of calls above the last would apply to calls through it as well.
            reached = self._has_stub or any(
                (through := entrance(rule.name)) is not None and through[0] == name
                for one in has
                for rule in one.rules()
            )
            if (own or reached) and open_:
                self.draft.rule(
                    str(self.profile.default),
                    [Entry(name, self.profile.default_position)],
                    self.profile.default_position,
                    arches=open_,
                )

    def _write_rules(self, rules: Sequence[AbiRules]) -> None:
        self._groups(
            [(one, rule) for one in rules for rule in one.rules() if rule.name not in MULTIPLEXED],
            rules,
        )

    def _groups(
        self, own: Iterable[tuple[AbiRules, CallRule]], all_rules: Sequence[AbiRules]
    ) -> None:
        """Write rules; those of one entry for the same ABIs become one group."""
        for piece, entries in rule_pieces(own, all_rules):
            more: dict[str, object] = {"optional": True}
            if piece.arches is not None:
                more = {"arches": list(piece.arches)}
            self.draft.rule(
                str(piece.action), entries, self.profile.entries[piece.entry].position, **more
            )


def _entries(kept: dict[str, tuple[ProfileEntry, ...]]) -> Iterable[ProfileEntry]:
    """Return the entries that are for some ABI, each once."""
    return dict.fromkeys(one for entries in kept.values() for one in entries)
