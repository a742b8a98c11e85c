"""What stands in the paths of many addresses."""

from typing import Annotated

from fastapi import Path

from gateway.contract.names import NAME_PATTERN, VERSION_PATTERN

ModelPath = Annotated[str, Path(pattern=NAME_PATTERN)]
VersionPath = Annotated[str, Path(pattern=VERSION_PATTERN)]
