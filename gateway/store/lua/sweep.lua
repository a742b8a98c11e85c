-- Forgets processes that have been silent for long.
--
-- KEYS  1... hashes of id -> "<ms> <JSON>"
-- ARGV  1 ms of silence after which an entry goes
-- Reply how many entries went

local time = redis.call('TIME')
local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1]
local gone = 0
for _, key in ipairs(KEYS) do
  local entries = redis.call('HGETALL', key)
  for i = 1, #entries, 2 do
    local seen = tonumber(string.match(entries[i + 1], '^(%d+) ') or '0')
    if seen < oldest then gone = gone + redis.call('HDEL', key, entries[i]) end
  end
end
return gone
