-- Which documents changed after a revision.
--
-- KEYS  1 revision (string)   2 documents (hash)   3 changed (sorted set)
-- ARGV  1 revision that the caller has seen
-- Reply {current revision, {field, envelope or false when deleted, field, ...}}

local fields = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[1], '+inf')
local changed = {}
for first = 1, #fields, 1000 do
  local last = math.min(first + 999, #fields)
  local envelopes = redis.call('HMGET', KEYS[2], unpack(fields, first, last))
  for i = first, last do
    changed[#changed + 1] = fields[i]
    changed[#changed + 1] = envelopes[i - first + 1]
  end
end
return {tonumber(redis.call('GET', KEYS[1]) or '0'), changed}
