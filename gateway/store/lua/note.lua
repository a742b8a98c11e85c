-- Writes one string, if the caller still leads.
--
-- KEYS  1 lease (hash)   2 what is written (string)
-- ARGV  1 fencing number that the lease must have   2 its new value
-- Reply {'done'}   {'fenced', the lease's fencing number, its holder}

local fence = redis.call('HGET', KEYS[1], 'fence') or '0'
if fence ~= ARGV[1] then return {'fenced', fence, redis.call('HGET', KEYS[1], 'holder') or ''} end
redis.call('SET', KEYS[2], ARGV[2])
return {'done'}
