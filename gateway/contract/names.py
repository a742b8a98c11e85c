"""Which names are allowed for models, versions, headers and the like.

Names travel into URLs, Redis keys and metric labels, so the alphabet is small on purpose: nothing in it
needs escaping in any of the three. Called wherever a name enters the system.
"""

import re
from typing import Annotated

from pydantic import StringConstraints

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"
HEADER_PATTERN = r"^[a-z0-9][a-z0-9-]{0,63}$"
PREDICTION_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"

ModelName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
VersionName = Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]
HeaderName = Annotated[str, StringConstraints(pattern=HEADER_PATTERN)]

_MODEL = re.compile(NAME_PATTERN)
_VERSION = re.compile(VERSION_PATTERN)
_PREDICTION_ID = re.compile(PREDICTION_ID_PATTERN)


def is_model_name(text: str) -> bool:
    return _MODEL.fullmatch(text) is not None


def is_version_name(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None


def is_prediction_id(text: str) -> bool:
    return _PREDICTION_ID.fullmatch(text) is not None
