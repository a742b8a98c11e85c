-- Changes one or several documents, or nothing.
--
-- KEYS  1 revision (string)   2 documents (hash)   3 changed (sorted set)   4 audit (stream)
--       5 this operation's result (string)   6 the controller's lease (hash)
--       7... history of each changed field (list), in ARGV's order
-- ARGV  1 author   2 reason   3 operation id   4 digest of the request
--       5 seconds to keep the result   6 envelopes to keep in a history   7 channel of changes
--       8 fencing number that the lease must have ('' = any)
--       9 number of required fields, which are not changed, then for each: its name, and the revision that it
--       must have (0 = there is none, -2 = there is one)
--       then for each changed field: its name, expected revision (-1 = any, 0 = there is none), document JSON
--       ('' = delete), 1 if it goes back to what was before ('' = no); then name and value of what else the audit
--       entry says
-- Reply {'done', revision, at_ms, 1 if this is the stored result of an earlier attempt}
--       {'fenced', the lease's fencing number, its holder}: somebody else leads since
--       {'conflict', field, its current revision, envelope of its last change or ''}
--       {'reused', operation id}: the id was used for another request
--       {'type', key, type}: a key holds another type of value; nothing was written
--
-- The audit entry's `link` is the SHA-1 (the only hash here) of the link before it and of all its own parts, each
-- with its length; its number is the revision, which has no gaps. `gateway.core.chain` says what that proves.
--
-- Documents are put together by concatenation: a round trip through cjson turns [] into {} and rounds numbers.

local wanted = {'string', 'hash', 'zset', 'stream', 'string', 'hash'}
for i, key in ipairs(KEYS) do
  local found = redis.call('TYPE', key)['ok']
  if found ~= 'none' and found ~= (wanted[i] or 'list') then return {'type', key, found} end
end

local earlier = redis.call('GET', KEYS[5])
if earlier then
  local revision, at_ms, digest = string.match(earlier, '^(%d+) (%d+) (.*)$')
  if digest ~= ARGV[4] then return {'reused', ARGV[3]} end
  return {'done', tonumber(revision), tonumber(at_ms), 1}
end

if ARGV[8] ~= '' then
  local fence = redis.call('HGET', KEYS[6], 'fence') or '0'
  if fence ~= ARGV[8] then return {'fenced', fence, redis.call('HGET', KEYS[6], 'holder') or ''} end
end

local function current(field) return redis.call('ZSCORE', KEYS[3], field) or '0' end

local function is_so(field, expected)
  local is_there = redis.call('HEXISTS', KEYS[2], field) == 1
  if expected == '-2' then return is_there end
  return expected == '-1' or expected == current(field) or (expected == '0' and not is_there)
end

local required = tonumber(ARGV[9])
for i = 1, required do
  local field = ARGV[8 + 2 * i]
  if not is_so(field, ARGV[9 + 2 * i]) then
    return {'conflict', field, tonumber(current(field)), redis.call('HGET', KEYS[2], field) or ''}
  end
end

local count = #KEYS - 6
local before_first = 9 + 2 * required
local function stated(i) return unpack(ARGV, before_first + 4 * i - 3, before_first + 4 * i) end

for i = 1, count do
  local field, expected = stated(i)
  if not is_so(field, expected) then
    return {'conflict', field, tonumber(current(field)), redis.call('LINDEX', KEYS[6 + i], 0) or ''}
  end
end

local last = redis.call('GET', KEYS[1]) or '0'
if not string.match(last, '^%d+$') then return {'type', KEYS[1], 'not a number'} end
local revision = redis.call('INCR', KEYS[1])
local shown = string.format('%.0f', revision)
local time = redis.call('TIME')
local at_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local who = ',"revision":' .. shown .. ',"at_ms":' .. at_ms .. ',"author":' .. cjson.encode(ARGV[1])
  .. ',"reason":' .. cjson.encode(ARGV[2])

local changes = {}
for i = 1, count do
  local field, _, doc, is_return = stated(i)
  local named = '{"field":' .. cjson.encode(field)
  local envelope = named .. who .. (is_return == '' and '' or ',"is_return":true')
    .. ',"doc":' .. (doc == '' and 'null' or doc) .. '}'
  local before = current(field)
  if doc == '' then
    redis.call('HDEL', KEYS[2], field)
  else
    redis.call('HSET', KEYS[2], field, envelope)
  end
  redis.call('ZADD', KEYS[3], shown, field)
  redis.call('LPUSH', KEYS[6 + i], envelope)
  redis.call('LTRIM', KEYS[6 + i], 0, ARGV[6] - 1)
  changes[i] = named .. ',"previous":' .. before .. ',"deleted":' .. (doc == '' and 'true' or 'false') .. '}'
end

local entry = {'revision', shown, 'at_ms', at_ms, 'author', ARGV[1], 'reason', ARGV[2], 'op_id', ARGV[3],
  'changes', '[' .. table.concat(changes, ',') .. ']'}
for i = before_first + 4 * count + 1, #ARGV do entry[#entry + 1] = ARGV[i] end
local newest = redis.call('XREVRANGE', KEYS[4], '+', '-', 'COUNT', 1)[1]
local linked = {''}
for i = 1, newest and #newest[2] or 0, 2 do
  if newest[2][i] == 'link' then linked[1] = newest[2][i + 1] end
end
for i, part in ipairs(entry) do linked[i + 1] = #part .. ':' .. part end
entry[#entry + 1] = 'link'
entry[#entry + 1] = redis.sha1hex(table.concat(linked))
redis.call('XADD', KEYS[4], '*', unpack(entry))
redis.call('SET', KEYS[5], shown .. ' ' .. at_ms .. ' ' .. ARGV[4], 'EX', ARGV[5])
redis.call('PUBLISH', ARGV[7], 'commit ' .. shown)
return {'done', revision, tonumber(at_ms), 0}
