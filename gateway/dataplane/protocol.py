"""Where HTTP meets routing: an inference request becomes an exchange, everything else goes to the app."""

from typing import ClassVar

from gateway.dataplane.exchange import Exchange, Lane
from gateway.dataplane.hedge import Hedged
from gateway.dataplane.table import Table
from gateway.wire.protocol import HttpProtocol


class GatewayProtocol(HttpProtocol):
    """`table` and `lane` are set on a subclass by the process that serves it."""

    table: ClassVar[Table]
    lane: ClassVar[Lane]
    serving: Exchange | None
    spare: Exchange | None

    def serve(self, url: bytes, headers: dict[bytes, bytes], body: bytes) -> bool:
        found = self.table.by_path.get(url) or self.table.find(url)
        if found is None:
            return False
        entry, pinned = found
        exchange = self.spare
        if exchange is None or entry.hedge_s is not None:
            exchange = (Exchange if entry.hedge_s is None else Hedged)(self.lane, self)
        self.spare = None
        self.serving = exchange
        exchange.begin(entry, headers, body, pinned)
        return True

    def client_gone(self) -> None:
        exchange, self.serving = self.serving, None
        if exchange is not None:
            exchange.gone()
