-- Who holds the controller's lease now?
--
-- KEYS  1 lease (hash: holder, fence, until_ms)
-- Reply the holder, '' where nobody holds it

local time = redis.call('TIME')
local holder, until_ms = unpack(redis.call('HMGET', KEYS[1], 'holder', 'until_ms'))
local is_held = (tonumber(until_ms or '0') or 0) > time[1] * 1000 + math.floor(time[2] / 1000)
return is_held and holder or ''
