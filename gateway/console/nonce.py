"""Which scripts may run in a page: those of this server, and those written into the page with its nonce.

NiceGUI writes its own scripts into every page and knows nothing of nonces, so its templates get one here:
into the template's text, before any value is filled in, so that a value can never bring a script that runs.
An `onerror=` or `javascript:` that got into a page by mistake does nothing. Two holes cannot be closed from
here: Vue compiles its templates in the browser (`unsafe-eval`), and elements have `style` attributes.

Called by `console.gate` for the header, and by `console.site` once.
"""

import secrets
from collections.abc import Callable

from jinja2 import BaseLoader, Environment

NONCE = "turnout.nonce"  # the key in an ASGI scope
_BYTES = 16
_SCRIPT = f"<script nonce=\"{{{{ request.scope['{NONCE}'] }}}}\""


def new_nonce() -> str:
    return secrets.token_urlsafe(_BYTES)


def policy(nonce: str) -> str:
    """The value of `content-security-policy`."""
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval'",
            "script-src-attr 'none'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def install_nonces(templates: Environment) -> None:
    """Every script that these templates spell out carries the nonce of its page's request."""
    if templates.loader is not None:
        templates.loader = _Nonced(templates.loader)


class _Nonced(BaseLoader):
    def __init__(self, inner: BaseLoader) -> None:
        self._inner = inner

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, file, is_fresh = self._inner.get_source(environment, template)
        return source.replace("<script", _SCRIPT), file, is_fresh
