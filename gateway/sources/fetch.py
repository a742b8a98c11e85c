"""Which source an address means, and its file on this machine. Called by `turnout model register` and
`follow`.
"""

from pathlib import Path

from gateway.contract.errors import CallerError
from gateway.sources.dvc import fetch_dvc
from gateway.sources.fetched import Fetched, Limits
from gateway.sources.git import fetch_git
from gateway.sources.local import fetch_local
from gateway.sources.mlflow import fetch_mlflow
from gateway.sources.modeldb import fetch_modeldb


def fetch(address: str, into: Path, *, limits: Limits) -> Fetched:
    """`into`: an empty folder for what has to be copied; the caller removes it."""
    scheme, colon, rest = address.partition(":")
    if address.startswith("git+"):
        return fetch_git(address, into, limits=limits)
    if address.startswith("dvc+git+"):
        return fetch_dvc(address, into, limits=limits)
    if address.startswith(("mlflow://", "mlflow+https://")):
        return fetch_mlflow(address, into, limits=limits)
    if address.startswith(("modeldb://", "modeldb+https://")):
        return fetch_modeldb(address, into, limits=limits)
    if colon and scheme == "file":
        return fetch_local(rest.removeprefix("//"), limits=limits)
    if "://" in address:
        raise CallerError(
            "bad_request",
            f"{scheme}: is not a source; there are file:, git+file:, git+https:, dvc+git+…, mlflow:, "
            "modeldb:",
        )
    return fetch_local(address, limits=limits)
