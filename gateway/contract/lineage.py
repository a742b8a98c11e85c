"""Where a version came from: what a source knows about a model file, as it is kept with the version.

Said by whoever registers and believed as such; what the file itself says (`producer`, `opsets`) is read by
the control process. Texts of others are cut and cleaned of control characters here, once, because they end up
on terminals. Called by the sources, the CLI and the control process.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MAX_CARD_BYTES = 64 * 1024
MAX_ENTRIES = 64  # metrics, parameters or tags of one version
MAX_TEXT = 1024

Text = Annotated[str, Field(max_length=MAX_TEXT)]


class Lineage(BaseModel):
    """All optional. `git_clean`: no tracked file differed from the commit; None: nobody looked.
    `data_digest`: of what the model was trained on, as the source writes digests, or of the file by the
    source's own hash. `created_at`: ISO 8601."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(
        default="", max_length=32, description="file, git, dvc, mlflow, modeldb, mlserver, triton"
    )
    git_repository: Text = Field(default="", description="Its address, or its folder where it has none.")
    git_commit: str = Field(default="", pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?$")
    git_clean: bool | None = None
    git_ref: Text = ""
    subject: Text = Field(default="", description="First line of the commit message, or of a description.")
    created_by: Text = Field(default="", description="Who made it, by the source; not who registered it.")
    created_at: str = Field(default="", max_length=64)
    data_digest: str = Field(default="", max_length=256)
    run_id: str = Field(default="", max_length=256)
    framework: Text = ""
    parameters: dict[str, Text] = Field(default_factory=dict, max_length=MAX_ENTRIES)


def clean(text: object, *, at_most: int = MAX_TEXT) -> str:
    """One printable line of a text that others wrote."""
    return "".join(char if char.isprintable() else " " for char in str(text)).strip()[:at_most]


def clean_texts(found: Mapping[str, Any]) -> dict[str, str]:
    """The first entries by name, cleaned; names that begin with `mlflow.` and the like are kept."""
    return {clean(key, at_most=128): clean(found[key]) for key in sorted(found)[:MAX_ENTRIES]}


def clean_numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """The first finite numbers by name."""
    numbers = {
        clean(key, at_most=128): float(found[key])
        for key in sorted(found)
        if isinstance(found[key], int | float) and math.isfinite(found[key])
    }
    return dict(list(numbers.items())[:MAX_ENTRIES])
