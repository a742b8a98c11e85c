"""How much of a client's time and bytes a server puts up with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines count from the first byte of a request and are absolute: a slow sender cannot renew them."""

    connections: int = 10_000  # of a process at once; about 7 KiB each
    head_bytes: int = 32 * 1024  # request line and headers; a browser's cookies fit
    headers: int = 100  # Envoy's edge default
    body_bytes: int = 32 * 1024 * 1024  # a 16 MiB tensor and its JSON
    head_s: float = 5.0  # HAProxy's advice for `timeout http-request`: a few seconds
    body_s: float = 15.0  # plus what `body_bytes_per_s` allows for what has come
    body_bytes_per_s: int = 64 * 1024  # a sender slower than this is closed after `body_s`
    write_s: float = 30.0  # how long a client may leave its reply unread
    keep_alive_s: float = 65.0  # longer than usual proxies' 60 s, so that they close first
    linger_s: float = 2.0  # how long bytes are discarded after a refusal, so that it can be read
