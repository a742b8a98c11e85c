"""What one worker serves, and in which state it is: shared by its connections and its pages."""

import re
from urllib.parse import unquote

from gateway.contract import headers
from gateway.contract.errors import TurnoutError
from gateway.contract.pool import WorkerState
from gateway.contract.signature import Signature
from workers.batcher import Batcher
from workers.protocol import RequestReader
from workers.replies import ReplyWriter
from workers.tally import Tally

_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


class Service:
    """Starts without a model; `serve` makes it ready."""

    reader: RequestReader
    writer: ReplyWriter
    batcher: Batcher
    signature: Signature

    def __init__(self, model: str, version: str) -> None:
        self.model = model
        self.version = version
        self.state = WorkerState.STARTING
        self.has_model = False  # looked at by every request, so not a property
        self.tally = Tally()
        self.digest = ""
        self.version_line = headers.VERSION + b": " + version.encode() + b"\r\n"
        self.version_bytes = version.encode()
        self.echo_end = b""  # what follows an attempt's token when it is echoed
        self.infer_urls = {
            f"/v2/models/{model}/infer".encode(),
            f"/v2/models/{model}/versions/{version}/infer".encode(),
        }

    def serve(self, signature: Signature, batcher: Batcher, digest: str) -> None:
        """The model is loaded and warm."""
        self.signature = signature
        self.reader = RequestReader(signature)
        self.writer = ReplyWriter(self.model, self.version, signature)
        self.batcher = batcher
        self.set_digest(digest)
        self.state = WorkerState.READY
        self.has_model = True

    def set_digest(self, digest: str) -> None:
        self.digest = digest
        self.echo_end = b";" + digest[:12].encode()

    @property
    def is_ready(self) -> bool:
        return self.state is WorkerState.READY

    def is_infer(self, url: bytes) -> bool:
        """Whether an unusual spelling of an address (a query, percent signs) is this model's inference."""
        found = _INFER.fullmatch(unquote(url.partition(b"?")[0].decode("latin-1")))
        return found is not None and found[1] == self.model and found[2] in (None, self.version)

    def check_name(self, model: str, version: str | None) -> None:
        """Raises TurnoutError when somebody asks for another model or version."""
        if model != self.model:
            raise TurnoutError("unknown_model", f"This worker serves the model {self.model}, not {model}.")
        if version not in (None, self.version):
            raise TurnoutError(
                "unknown_version", f"This worker serves version {self.version} of {model}, not {version}."
            )
