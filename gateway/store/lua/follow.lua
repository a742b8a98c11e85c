-- Which documents changed after a revision: a page of them, in the order of their last change.
--
-- KEYS  1 revision (string)   2 documents (hash)   3 changed (sorted set)
-- ARGV  1 revision that the caller has seen   2 documents in a page (more when one revision changed more)
-- Reply {current revision, revision that this page reaches, {field, envelope or false when deleted, field, ...}}
--
-- A page ends with a whole revision, so that no commit is split.

local revision = tonumber(redis.call('GET', KEYS[1]) or '0')
local upto = revision
local fields = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])
if #fields == tonumber(ARGV[2]) then
  local last = redis.call('ZSCORE', KEYS[3], fields[#fields])
  fields = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[1], last)
  upto = tonumber(last)
end
local changed = {}
for first = 1, #fields, 1000 do
  local last = math.min(first + 999, #fields)
  local envelopes = redis.call('HMGET', KEYS[2], unpack(fields, first, last))
  for i = first, last do
    changed[#changed + 1] = fields[i]
    changed[#changed + 1] = envelopes[i - first + 1]
  end
end
return {revision, upto, changed}
