"""People log in at real providers in a real browser: oidc-provider (npm) and oidc-provider-mock (on Authlib);
`scripts/test-login` installs them and runs this.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.chromium import launched
from tests.control.test_login_in_a_browser import running_console, until_answers
from tests.sockets import free_port

# A virtual environment, and in it the folder `node`.
PEERS = Path(os.environ.get("TURNOUT_LOGIN_PEERS", "none"))
SECRET = "s3cr+t/with:odd %signs"
TRUSTED = ["openid", "email", "groups"]
expect.set_options(timeout=30_000)
pytestmark = pytest.mark.skipif(not PEERS.is_dir(), reason="run scripts/test-login")


@contextmanager
def npm_provider(here: Path, redirect_uri: str, method: str) -> Iterator[dict[str, object]]:
    """Settings for logging in at it: a client that shows its secret by `method` and in no other way."""
    if not (PEERS / "node").is_dir():
        pytest.skip("no Node.js when scripts/test-login installed the providers")
    program, port = PEERS / "node" / "provider.mjs", free_port()
    shutil.copy(Path(__file__).with_name("provider.mjs"), program)
    with running(here, "node", str(program), str(port), redirect_uri, method, SECRET, port=port) as issuer:
        secret = "" if method == "none" else SECRET
        yield {"issuer": issuer, "client_id": "turnout", "client_secret": secret, "scopes": TRUSTED}


@contextmanager
def authlib_provider(here: Path, redirect_uri: str, method: str) -> Iterator[dict[str, object]]:
    people = [
        {"sub": "ana", "email": "ana@example.org", "email_verified": True, "groups": ["ops"]},
        {"sub": "bob", "email": "bob@example.org"},
    ]
    port = free_port()
    users = [part for person in people for part in ("--user-claims", json.dumps(person))]
    program = [str(PEERS / "bin" / "oidc-provider-mock"), "--port", str(port), "--require-nonce", "true"]
    with running(here, *program, "--require-registration", "true", *users, port=port) as issuer:
        client = {"redirect_uris": [redirect_uri], "token_endpoint_auth_method": method}
        made = httpx2.post(f"{issuer}/oauth2/clients", json=client, trust_env=False).json()
        secret = "" if method == "none" else made["client_secret"]
        yield {"issuer": issuer, "client_id": made["client_id"], "client_secret": secret}


@contextmanager
def running(here: Path, *command: str, port: int) -> Iterator[str]:
    with (here / "provider.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=here)
    try:
        until_answers(f"http://127.0.0.1:{port}/.well-known/openid-configuration", within_s=60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def log_in_at_npm(page: Page, who: str) -> None:
    page.fill("input[name=login]", who)
    page.fill("input[name=password]", "any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def log_in_at_authlib(page: Page, who: str) -> None:
    page.get_by_role("button", name=who, exact=True).click()


Provider = Callable[[Path, str, str], AbstractContextManager[dict[str, object]]]
LogIn = Callable[[Page, str], None]
CASES = [  # oidc-provider-mock takes no client without a secret
    (npm_provider, log_in_at_npm, "client_secret_basic"),
    (npm_provider, log_in_at_npm, "client_secret_post"),
    (npm_provider, log_in_at_npm, "none"),
    (authlib_provider, log_in_at_authlib, "client_secret_basic"),
    (authlib_provider, log_in_at_authlib, "client_secret_post"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, launched(playwright) as started:
        yield started


@contextmanager
def at_the_provider(browser: Browser, console: str) -> Iterator[Page]:
    """A browser that nobody used, at the page that the console's link leads to."""
    context = browser.new_context()
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(f"{console}/session")
    page.get_by_role("link", name=re.compile("^Log in at")).click()
    yield page
    context.close()


@pytest.mark.parametrize(("provider", "log_in", "method"), CASES)
def test_who_has_a_role_is_let_in_and_others_are_told_why_not(
    provider: Provider, log_in: LogIn, method: str, browser: Browser, tmp_path: Path
) -> None:
    port = free_port()
    back = f"http://127.0.0.1:{port}/console/login/back"
    with provider(tmp_path, back, method) as oidc, running_console(tmp_path, port, oidc) as console:
        with at_the_provider(browser, console.url) as page:
            log_in(page, "ana")
            page.wait_for_url(f"{console.url}/")
            page.goto(f"{console.url}/session")
            expect(page.get_by_text("You are logged in as ana@example.org")).to_be_visible()
            page.get_by_role("link", name="Log out").click()
            expect(page.get_by_text("You are logged out")).to_be_visible()
        with at_the_provider(browser, console.url) as page:
            log_in(page, "bob")
            expect(page.get_by_text("gives you no role here")).to_be_visible()


def test_who_says_no_at_the_provider_is_told(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    back = f"http://127.0.0.1:{port}/console/login/back"
    with (
        authlib_provider(tmp_path, back, "client_secret_basic") as oidc,
        running_console(tmp_path, port, oidc) as console,
        at_the_provider(browser, console.url) as page,
    ):
        page.get_by_role("button", name="Deny").click()
        expect(page.get_by_text("The provider refused")).to_be_visible()


def test_a_secret_that_the_provider_does_not_know_is_told_as_one_of_the_settings(
    browser: Browser, tmp_path: Path
) -> None:
    port = free_port()
    back = f"http://127.0.0.1:{port}/console/login/back"
    with (
        npm_provider(tmp_path, back, "client_secret_basic") as oidc,
        running_console(tmp_path, port, oidc | {"client_secret": "wrong"}) as console,
        at_the_provider(browser, console.url) as page,
    ):
        log_in_at_npm(page, "ana")
        expect(
            page.get_by_text("does not take this application's client_id and client_secret")
        ).to_be_visible()
