-- One prediction after another, for wrk: a small JSON body and a unit id that changes with every request.
-- Arguments after "--": path, body, number of units, and how often the body is repeated (1). Prints one line of JSON when it is done.

local prepared = {}
local position = 0

function init(arguments)
  local path, body, units = arguments[1], arguments[2], tonumber(arguments[3])
  body = string.rep(body, tonumber(arguments[4] or 1))
  local headers = { ["content-type"] = "application/json" }
  math.randomseed(1)
  for index = 1, units do
    headers["turnout-unit"] = string.format("unit-%06d", math.random(units))
    prepared[index] = wrk.format("POST", path, headers, body)
  end
end

function request()
  position = position % #prepared + 1
  return prepared[position]
end

function done(summary, latency, _)
  io.write(string.format(
    '\n{"requests": %d, "duration_us": %d, "bytes": %d, "connect_errors": %d, "read_errors": %d, ' ..
    '"write_errors": %d, "status_errors": %d, "timeouts": %d, "p50_us": %d, "p90_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, summary.bytes, summary.errors.connect, summary.errors.read,
    summary.errors.write, summary.errors.status, summary.errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99)))
end
