-- Erases records of predictions with all that lies beside them: label, slices, unit, shadows' answers.
--
-- KEYS  buckets of predictions (hashes), one for each record; the last is feedback that waits (hash)
-- ARGV  for each of those buckets its name, and the record's field
-- Reply how many records there were
--
-- Sums of evidence stay as they are: they are counts, and say nothing of one prediction.

local BESIDE = {'', 'L', 'S', 'U', '0', '1', '2', '3', '4', '5', '6', '7'}
local waiting = KEYS[#KEYS]
local erased = 0
for number = 1, #KEYS - 1 do
  local key, bucket, field = KEYS[number], ARGV[2 * number - 1], ARGV[2 * number]
  erased = erased + redis.call('HEXISTS', key, field)
  local fields = {}
  for i, suffix in ipairs(BESIDE) do fields[i] = field .. suffix end
  redis.call('HDEL', key, unpack(fields))
  redis.call('HDEL', waiting, bucket .. field)
  -- Alone in a bucket, L is a sign that it holds labels.
  if redis.call('HLEN', key) == 1 and redis.call('HEXISTS', key, 'L') == 1 then redis.call('DEL', key) end
end
return erased
