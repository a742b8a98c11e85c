"""The document of one registered version: what it is, where it came from, who answers for it."""

from pydantic import BaseModel, ConfigDict, Field

from gateway.contract.lineage import MAX_CARD_BYTES, Lineage
from gateway.contract.names import ModelName, VersionName
from gateway.contract.signature import Signature


class Version(BaseModel):
    """Immutable once registered, but for `tags`; `digest` names the file in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    version: VersionName
    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the artefact, hex")
    size_bytes: int = Field(ge=1)
    platform: str = "onnx_onnxv1"
    signature: Signature
    source: str = Field(default="", max_length=2048)
    owner: str = Field(default="", max_length=256)
    notes: str = Field(default="", max_length=8192)
    metrics: dict[str, float] = Field(default_factory=dict, max_length=64)
    tags: dict[str, str] = Field(default_factory=dict, max_length=64)
    lineage: Lineage = Field(default_factory=Lineage)
    producer: str = Field(default="", max_length=1024, description="What wrote the file, as the file says")
    opsets: dict[str, int] = Field(default_factory=dict, max_length=64)
    card: str = Field(default="", max_length=MAX_CARD_BYTES, description="Model card, Markdown")
