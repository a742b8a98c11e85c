"""How people log in by OpenID Connect, as far as it is set: the issuer, what is asked of it, who gets a role.

Read by the control process, which does it (`control.access.oidc`), and by the settings.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.parse import urlsplit

from gateway.contract.access import LOOPBACK_HOSTS, Role

CALLBACK_PATH = "/console/login/back"


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """`issuer` empty: nobody logs in so. Who is in none of `roles` does not come in."""

    issuer: str = ""  # as the provider writes itself in its tokens
    client_id: str = ""
    client_secret: str = field(default="", repr=False)  # empty: a public client, with PKCE alone
    url: str = ""  # under which browsers reach control; the provider sends them to <url>/console/login/back
    scopes: tuple[str, ...] = ("openid", "email")
    name_claim: str = "email"  # what history and audit call the person
    role_claim: str = "groups"  # text or a list of texts; the highest role of them counts
    roles: dict[str, Role] = field(default_factory=dict)  # value of that claim -> role
    session_s: float = 28_800.0  # a working day; a role taken away at the provider counts from the next login
    skew_s: float = 60.0  # that clocks may differ

    @property
    def redirect_uri(self) -> str:
        return self.url.rstrip("/") + CALLBACK_PATH


def problems(settings: OidcSettings) -> list[str]:
    """Why nobody could log in, or not safely."""
    if not settings.issuer:
        return []
    missing = [name for name in ("client_id", "url") if not getattr(settings, name)]
    found = [f"control.oidc.{name}: it is needed where control.oidc.issuer is set" for name in missing]
    for name in ("issuer", "url"):
        value = getattr(settings, name)
        if value and not is_safe(value):
            found.append(f"control.oidc.{name}: {value} is not an https URL (http only at loopback)")
    if not settings.roles:
        found.append(
            "control.oidc.roles: nobody could log in: say which value of the role claim gives which role"
        )
    if find_spec("joserfc") is None:
        found.append("control.oidc: tokens cannot be checked: pip install 'turnout[oidc]'")
    if "openid" not in settings.scopes:
        found.append("control.oidc.scopes: `openid` is missing, without which there is no login")
    return found


def is_safe(url: str) -> bool:
    """What is sent there can be read on the way by nobody."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS)
    )
