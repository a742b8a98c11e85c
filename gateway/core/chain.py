"""What the audit chain proves, and how it is checked: pure hashing, entry by entry.

Two hashes. `link` is made inside the commit's own script, where there is only SHA-1: it binds each entry to
the one before it from its first moment, but whoever can write to Redis can make a whole new chain of links.
What holds against them is the running SHA-256 over all entries (`Sum`): control signs it with a key that
Redis never sees (`control.audit.heads`), and a head that was kept elsewhere proves by itself, even without
that key.

Entries are numbered by their revision, which grows by one with each commit, so a missing entry is a gap.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

Entry = Mapping[bytes, bytes]  # names and values as the stream has them, in their order
MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Head:
    """The chain up to one entry. `mac` signs the rest (HMAC-SHA-256) with the key that `signer` names."""

    revision: int
    entry_id: str
    link: str
    sha256: str
    at_ms: int
    signer: str = ""
    mac: str = ""

    def signed_text(self) -> bytes:
        parts = (self.revision, self.entry_id, self.link, self.sha256, self.at_ms, self.signer)
        return "\n".join(map(str, ("turnout audit head", *parts))).encode()


def link_of(entry: Entry, before: bytes) -> bytes:
    """As `commit.lua` computes it."""
    parts = [before]
    for name, value in entry.items():
        if name != b"link":
            parts.append(b"%d:%b%d:%b" % (len(name), name, len(value), value))
    return hashlib.sha1(b"".join(parts), usedforsecurity=False).hexdigest().encode()


def sum_of(before: bytes, entry_id: bytes, entry: Entry) -> bytes:
    """The running SHA-256 (hex) with this entry, its id and link included."""
    parts = [before, b"%d:%b" % (len(entry_id), entry_id)]
    for name, value in entry.items():
        parts.append(b"%d:%b%d:%b" % (len(name), name, len(value), value))
    return hashlib.sha256(b"".join(parts)).hexdigest().encode()


@dataclass(slots=True)
class Walk:
    """Walks the chain from its beginning, or from behind a head, and collects what is wrong with it.

    `heads`: signed or kept ones by revision, to be met on the way. `older`: entries from before there was a
    chain; they are counted, and covered by the sum only.
    """

    heads: Mapping[int, Head] = field(default_factory=dict)
    revision: int = 0
    entry_id: bytes = b""
    link: bytes = b""
    sum: bytes = b""
    entries: int = 0
    older: int = 0
    met: int = 0
    problems: list[str] = field(default_factory=list)
    more_problems: int = 0

    @classmethod
    def behind(cls, head: Head, heads: Mapping[int, Head]) -> "Walk":
        return cls(
            heads,
            revision=head.revision,
            entry_id=head.entry_id.encode(),
            link=head.link.encode(),
            sum=head.sha256.encode(),
        )

    def step(self, entry_id: bytes, entry: Entry) -> None:
        self.entries += 1
        self.sum = sum_of(self.sum, entry_id, entry)
        told = entry.get(b"revision", b"")
        revision = int(told) if told.isdigit() and len(told) < 19 else 0
        link = entry.get(b"link")
        if link is None and not self.link:
            self.older += 1
        else:
            self._check(revision, link, entry)
        self.revision = revision
        self.entry_id = entry_id
        self.link = link or b""
        head = self.heads.get(revision)
        if head is not None:
            self._meet(head)

    def end(self, *, at_least: int, at_most: int) -> None:
        """The installation's revision, by its own key in Redis, before and after the walk."""
        if not at_least <= self.revision <= at_most:
            self._say(
                f"the newest entry is revision {self.revision}, but the installation is at {at_most}: "
                "entries at the end are missing, or the counter was changed"
            )
        beyond = [revision for revision in self.heads if revision > self.revision]
        if beyond:
            self._say(
                f"a head knows revision {max(beyond)}, but the entries end at {self.revision}: "
                "the end was cut off"
            )

    @property
    def is_whole(self) -> bool:
        return not self.problems

    def _check(self, revision: int, link: bytes | None, entry: Entry) -> None:
        if self.entry_id and revision != self.revision + 1:
            if revision > self.revision:
                self._say(f"between revision {self.revision} and {revision} entries are missing")
            else:
                self._say(f"revision {revision} comes after {self.revision}: the order was changed")
        elif not self.entry_id and revision > 1:
            self._say(
                f"the entries begin at revision {revision}: earlier ones are missing. If they were trimmed "
                "on purpose, verify from a head (--from-head) that covers them"
            )
        if link is None:
            self._say(f"the entry of revision {revision} has no link: it was not written by a commit")
        elif link != link_of(entry, self.link):
            self._say(
                f"the link of revision {revision} does not fit: it, or the entry before it, was changed"
            )

    def _meet(self, head: Head) -> None:
        self.met += 1
        if (head.entry_id.encode(), head.link.encode(), head.sha256.encode()) != (
            self.entry_id, self.link, self.sum,
        ):  # fmt: skip
            self._say(
                f"the entries up to revision {head.revision} are not those of the head of then: at least "
                "one of them was changed, replaced, removed or added"
            )

    def _say(self, problem: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)
        else:
            self.more_problems += 1
