"""What a version that ends says in each of its replies, and what is said once it has ended.

`Deprecation` (RFC 9745, section 2: a structured date) says since when, `Sunset` (RFC 8594, section 3: an
HTTP date) until when, and a `Link` to the successor (relation `successor-version`, RFC 5829) what to use
instead. Called by `dataplane.table` when it binds a model, so that a reply pays for it with its bytes alone.
"""

from email.utils import formatdate

from gateway.contract.standing import Standing, State

ANNOUNCED = frozenset({State.DEPRECATED, State.RETIRED})  # what a gateway has to know of


def announcement(standing: Standing | None) -> str:
    """Reply headers, each with the end of its line; empty for a version that does not end."""
    if standing is None or standing.state not in ANNOUNCED:
        return ""
    lines = []
    if standing.deprecated_at is not None:
        lines.append(f"deprecation: @{int(standing.deprecated_at.timestamp())}\r\n")
    if standing.sunset_at is not None:
        lines.append(f"sunset: {formatdate(standing.sunset_at.timestamp(), usegmt=True)}\r\n")
    if standing.successor is not None:
        path = f"/v2/models/{standing.model}/versions/{standing.successor}/infer"
        lines.append(f'link: <{path}>; rel="successor-version"\r\n')
    return "".join(lines)


def farewell(standing: Standing) -> str:
    """Why a retired version does not answer."""
    said = f"Version {standing.version} of {standing.model} is retired"
    return said + (f": use its successor {standing.successor}." if standing.successor else ".")
