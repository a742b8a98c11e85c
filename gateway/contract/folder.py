"""What an installation's folder says beside routes and policies: versions, aliases and who has a role.

A folder is the installation as files, to be kept in git. It holds no model file and no secret, so versions
and keys can only be compared with it. Written and read by `turnout export|diff|apply --dir`.
"""

from typing import Annotated, Literal

from pydantic import Field

from gateway.contract.access import ALL_MODELS, KeyName, Role
from gateway.contract.lineage import Lineage
from gateway.contract.names import ModelName, VersionName
from gateway.contract.route import Document


class VersionEntry(Document):
    """One version; what is left out is not compared."""

    version: VersionName
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    source: str = ""
    owner: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)
    lineage: Lineage = Field(default_factory=Lineage)
    workers: Annotated[int, Field(ge=0, le=64)] | None = None


class VersionsOf(Document):
    """A document of `versions.yaml`."""

    model: ModelName
    versions: tuple[VersionEntry, ...]


class AliasEntry(Document):
    alias: ModelName
    version: VersionName


class AliasesOf(Document):
    """A document of `aliases.yaml`."""

    model: ModelName
    aliases: tuple[AliasEntry, ...]


class RoleEntry(Document):
    """A document of `roles.yaml`: a key without its secret and its end."""

    name: KeyName
    role: Role
    models: tuple[ModelName | Literal["*"], ...] = (ALL_MODELS,)
    pin: bool = False
    rate_per_s: float | None = None
