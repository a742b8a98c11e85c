"""Names of the HTTP headers that Turnout reads and writes, as lower-case bytes ready for the wire.

Three parties use them: client applications, the gateway, and workers. `ATTEMPT` and `RECORD` exist only
between gateway and worker.
"""

# A client's wishes.
AUTHORIZATION = b"authorization"
VERSION = b"turnout-version"  # request: pin this version; reply: the version that answered
UNIT = b"turnout-unit"  # what stickiness sticks to
PREDICTION_ID = b"turnout-prediction-id"  # the caller's own id; reply: the id to send feedback for
TIMEOUT_MS = b"turnout-timeout-ms"  # whole milliseconds that the caller is willing to wait

# Of the control API: `true` = check everything and change nothing.
DRY_RUN = b"turnout-dry-run"

# What the gateway says about its decision.
REVISION = b"turnout-revision"
REASON = b"turnout-reason"
ERROR = b"turnout-error"  # a stable code from `errors.STATUS_OF`
SERVER_TIMING = b"server-timing"

# Between gateway and worker.
ATTEMPT = b"turnout-attempt"  # request: a token; reply: "<token>;<first 12 hex digits of the digest>"
RECORD = b"turnout-record"  # request: the output whose value is to be recorded
OUTPUT = b"turnout-output"  # reply: that output as one line of JSON
WORKER_TIME = b"turnout-worker-us"  # reply: microseconds from parsed request to built reply

# Of the Open Inference Protocol's binary tensor extension.
JSON_LENGTH = b"inference-header-content-length"

# Request headers that pass from the client to the worker unchanged; every other one ends at the gateway.
PASSED_TO_WORKER = (
    b"content-type",
    JSON_LENGTH,
    b"accept",
    b"traceparent",
    b"tracestate",
    b"x-request-id",
)
