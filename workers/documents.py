"""The JSON of an inference request as structs: what the Open Inference Protocol names, and nothing else.

Read by `workers.protocol`, and by `workers.typed` with types made of a signature.
"""

import msgspec

Parameters = dict[str, bool | int | float | str]
NO_DATA = msgspec.Raw(b"")


class Input(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = NO_DATA
    parameters: Parameters | None = None


class Output(msgspec.Struct, gc=False):
    name: str
    parameters: Parameters | None = None


class Wishes(msgspec.Struct, gc=False, kw_only=True):
    """What a request says beside its inputs."""

    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[Output] | None = None


class Request(Wishes, gc=False):
    inputs: list[Input]
