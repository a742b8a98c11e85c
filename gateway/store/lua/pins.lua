-- Counts who pinned versions of one model on one day, up to a number of callers.
--
-- KEYS  1 the day's counts (hash)
-- ARGV  1 seconds to keep them   2 most fields   3 what a field that is too much becomes after its version
--       4... for each count its version, its field and its number
-- Reply 1

local size = redis.call('HLEN', KEYS[1])
for i = 4, #ARGV, 3 do
  local field = ARGV[i + 1]
  if redis.call('HEXISTS', KEYS[1], field) == 0 then
    if size >= tonumber(ARGV[2]) then field = ARGV[i] .. ARGV[3] else size = size + 1 end
  end
  redis.call('HINCRBY', KEYS[1], field, ARGV[i + 2])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
