from jinja2 import DictLoader, Environment
from starlette.requests import Request

from gateway.console.nonce import NONCE, install_nonces, policy


def test_only_scripts_of_the_template_itself_get_the_nonce() -> None:
    """What is filled in, here without any escaping, gets none: so it does not run."""
    templates = Environment(
        loader=DictLoader({"page": "<script>own()</script>{{ value }}"}), autoescape=False
    )
    install_nonces(templates)
    request = Request({"type": "http", NONCE: "n0"})
    page = templates.get_template("page").render(request=request, value="<script>theirs()</script>")
    assert page == '<script nonce="n0">own()</script><script>theirs()</script>'


def test_the_policy_names_the_nonce_and_no_inline_script() -> None:
    rules = dict(rule.split(" ", 1) for rule in policy("n0").split("; "))
    assert rules["script-src"] == "'self' 'nonce-n0' 'unsafe-eval'"
    assert rules["script-src-attr"] == "'none'"
    for what in ("frame-ancestors", "form-action", "base-uri", "object-src"):
        assert rules[what] == "'none'"
