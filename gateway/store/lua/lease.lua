-- Takes the controller's lease, or keeps it.
--
-- KEYS  1 lease (hash: holder, fence, until_ms)
-- ARGV  1 who asks   2 ms that it lasts (0 = give it up)
-- Reply {1 if the caller holds it now, fencing number, holder, until_ms}
--
-- The fencing number grows with every new holder, also when one comes back after its own lease ran out: what
-- it sent before is then refused. A lease that lasts longer than any can is left over from before the clock
-- was set back; it does not count.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local lasts_ms = tonumber(ARGV[2])
local holder, fence, until_ms = unpack(redis.call('HMGET', KEYS[1], 'holder', 'fence', 'until_ms'))
fence, until_ms = tonumber(fence or '0') or 0, tonumber(until_ms or '0') or 0
local is_mine = holder == ARGV[1]

if lasts_ms == 0 then
  if is_mine then redis.call('HSET', KEYS[1], 'until_ms', '0') end
  return {0, fence, holder or '', 0}
end

local is_held = until_ms > now_ms and (until_ms <= now_ms + lasts_ms or is_mine)
if is_held and not is_mine then return {0, fence, holder, until_ms} end
if not is_held then fence = fence + 1 end
until_ms = now_ms + lasts_ms
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'fence', string.format('%.0f', fence),
  'until_ms', string.format('%.0f', until_ms))
return {1, fence, ARGV[1], until_ms}
