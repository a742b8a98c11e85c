-- Keeps a request's body and disagreements of shadows, each for a time and up to a number.
--
-- Every write renews the time of its key, so what is older than that time goes here, entry by entry.
--
-- KEYS  1 samples (list of "<ms> <body>", newest first)   2... disagreements (sorted sets of JSON with `at_ms`)
-- ARGV  1 seconds to keep an entry   2 most samples   3 most disagreements of a pair
--       4 the body; '' = none   5... for each set a score and its entry
-- Reply 1

local keep_s, most_samples, most_apart = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest_ms = now_ms - keep_s * 1000

if ARGV[4] ~= '' then
  redis.call('LPUSH', KEYS[1], string.format('%.0f ', now_ms) .. ARGV[4])
  redis.call('LTRIM', KEYS[1], 0, most_samples - 1)
  while (tonumber(string.match(redis.call('LINDEX', KEYS[1], -1), '^(%d+) ')) or 0) < oldest_ms do
    redis.call('RPOP', KEYS[1])
  end
  redis.call('EXPIRE', KEYS[1], keep_s)
end

for i = 2, #KEYS do
  local score, entry = ARGV[2 * i + 1], ARGV[2 * i + 2]
  for _, held in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
    local at_ms = tonumber(string.match(held, '"at_ms":(%d+)')) or 0
    if at_ms < oldest_ms then redis.call('ZREM', KEYS[i], held) end
  end
  redis.call('ZADD', KEYS[i], score, entry)
  redis.call('ZREMRANGEBYRANK', KEYS[i], 0, -most_apart - 1)
  redis.call('EXPIRE', KEYS[i], keep_s)
end
return 1
