-- Processes and when each was last heard of, by one clock.
--
-- KEYS  1 workers, gateways or supervisors (hash: id -> "<ms> <JSON>")
-- Reply {Redis' time in ms, {id, "<ms> <JSON>", id, ...}}

local time = redis.call('TIME')
return {time[1] * 1000 + math.floor(time[2] / 1000), redis.call('HGETALL', KEYS[1])}
