"""The document of a model's aliases: names for versions that move, such as `champion`."""

from pydantic import BaseModel, ConfigDict, Field

from gateway.contract.names import ModelName, VersionName

MAX_ALIASES = 64


class Aliases(BaseModel):
    """Alias -> version. A route never holds an alias: the CLI resolves it when a route is edited."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aliases: dict[ModelName, VersionName] = Field(default_factory=dict, max_length=MAX_ALIASES)
