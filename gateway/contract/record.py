"""What is kept of one prediction, and where: ids, buckets, fields, and the record's own form.

Millions of small Redis keys cost about 200 bytes each before they hold anything. So a gateway process
writes its predictions into *buckets*: hashes of at most `BUCKET_SIZE` predictions, small enough that Redis
stores them as one compact list. The bucket is the first half of the prediction id, so that a label finds its
prediction without an index.

An id made by a gateway is a UUIDv7 (RFC 9562, section 5.7) whose time and 12-bit part belong to the bucket
(at most `BUCKET_SECONDS` old) and whose last 60 bits are random. A caller's own id has a bucket of its own.

A record is a JSON array: [version, revision, unix seconds, latency in µs, kind, output]. In a primary's the
kind is followed by how the answer came about, `<reason>/<worker>[/<attempts>]`:

    ["2",42,1764000000,1234,"cs/1ab2cd34/2",7]    class; by the sticky unit; worker …1ab2cd34; second attempt

The reason is a letter, or for a rule its position in the route, counted from 0; attempts are written where
there was more than one. All of it is one string, and not several, so that a usual record stays below the 64
bytes up to which Redis keeps a hash as a compact list. Records of shadows, and those of earlier gateways, say
the kind alone.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

BUCKET_SIZE = 128  # predictions; a longer list is slower to search than it saves
COMPACT_ENTRIES = 500  # Redis 6.2 to Valkey 9 keep a hash of up to 512 small entries as one list
BUCKET_SECONDS = 10.0  # a bucket is closed after this long even if it is not full
OWN_FIELD = b"="  # the field of a prediction with a caller's own id
LABEL_SUFFIX = b"L"  # field + this: the label's canonical JSON
SLICES_SUFFIX = b"S"  # field + this: `<header>|<value>|<header>|<value>` of a request that is sliced
UNIT_SUFFIX = b"U"  # field + this: the mark of the unit that asked, where `record.units` says so
MAX_SAMPLE_BYTES = 8192  # a longer request body is not kept as a sample
MAX_OUTPUT_BYTES = 2048  # a longer output is not recorded (counted, and the prediction is still joined)

WORKER_TAIL = 8  # last characters of a worker's id that are kept: what is random in an id of a supervisor
REASON_LETTERS = {"pin": "p", "sticky": "s", "weight": "w", "fallback": "f"}

_CODES = {reason: letter.encode() for reason, letter in REASON_LETTERS.items()}
_NO_TAIL = re.compile(r"[^A-Za-z0-9._:-]")
_UUID7 = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


def bucket_size(beside: int) -> int:
    """Predictions in a bucket, so that it stays compact with a label and what else lies `beside` each record:
    shadows' records, slices, a unit's mark."""
    return min(BUCKET_SIZE, COMPACT_ENTRIES // (2 + beside))


class Kind(StrEnum):
    """How an output is scored."""

    CLASS = "c"  # whole numbers, booleans, strings: right or wrong
    NUMBER = "r"  # floating point: by its error
    NONE = "n"  # nothing was recorded


class Place(NamedTuple):
    """Where a prediction's record lies: `bucket` completes `keys.predictions`, `field` is inside it."""

    bucket: str
    field: bytes


def place_of(prediction_id: str) -> Place:
    """Where the record of this id lies, or would lie."""
    if _UUID7.fullmatch(prediction_id):
        return Place(prediction_id[:18].replace("-", ""), bytes.fromhex(prediction_id[19:].replace("-", "")))
    return Place("=" + prediction_id, OWN_FIELD)


def id_of(bucket: str, field: bytes) -> str:
    """The prediction id of a primary's place: what `place_of` was given."""
    if bucket.startswith("="):
        return bucket[1:]
    tail = field.hex()
    return f"{bucket[:8]}-{bucket[8:12]}-{bucket[12:]}-{tail[:4]}-{tail[4:]}"


def made_at_ms(prediction_id: str) -> int | None:
    """The Unix time inside a UUIDv7 id, in ms; None for a caller's own id."""
    if _UUID7.fullmatch(prediction_id):
        return int(prediction_id[:13].replace("-", ""), 16)
    return None


def shadow_field(field: bytes, slot: int) -> bytes:
    """The field of the shadow with this position in the route, counted from 0."""
    return field + bytes((48 + slot,))


def unit_mark(model: str, unit: bytes) -> bytes:
    """What a record says of its unit: enough to find all of a unit's records, and not the unit.

    A pseudonym and no secret: whoever reads Redis and knows the units can tell which is which.
    """
    return hashlib.blake2b(b"%b\0%b" % (model.encode(), unit), digest_size=8).digest()


def reason_codes(rules: Sequence[str]) -> Mapping[str, bytes]:
    """What a record says for each reason that a route can have; `rules` as reasons: `rule:<name>`."""
    if not rules:
        return _CODES  # one for all, where there are thousands of routes
    return {**_CODES, **{reason: b"%d" % position for position, reason in enumerate(rules)}}


def worker_tail(worker_id: str) -> str:
    """What a record says for a worker; whatever could end a JSON string is replaced."""
    return _NO_TAIL.sub("_", worker_id[-WORKER_TAIL:])
