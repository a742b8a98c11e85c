-- Joins labels and rewards to their predictions, each exactly once, and scores them. Begins with scoring.lua.
--
-- KEYS  1 waiting (hash: bucket .. field -> "<ms> <prediction id> <label>")   2 corrections (list)
--       Also read and written, in the same slot by their tag: buckets of predictions and minutes of evidence.
-- ARGV  1 what keys of predictions begin with   2 ... of evidence   3 seconds to keep evidence
--       4 seconds that predictions are kept   5 seconds that feedback waits   6 most entries that wait
--       7 most corrections kept
--       8... for each item: bucket, field, ms at which the id was made or '', id, label JSON or "reward:<number>"
-- Reply one word an item (contract/feedback.py), or {'type', key, type}: a key holds another type of value
--
-- All is read and decided before anything is written (but waiting entries that ran out): what fails writes nothing.

PREDICTIONS, EVIDENCE, EVIDENCE_TTL_S = ARGV[1], ARGV[2], ARGV[3]
local kept_ms, wait_ms, most_waiting = ARGV[4] * 1000, ARGV[5] * 1000, tonumber(ARGV[6])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

for i, wanted in ipairs({'hash', 'list'}) do
  local found = redis.call('TYPE', KEYS[i])['ok']
  if found ~= 'none' and found ~= wanted then return {'type', KEYS[i], found} end
end

local size = redis.call('HLEN', KEYS[1])
if size > 0 then  -- a few of those that waited too long, whichever come to hand
  local some = redis.call('HRANDFIELD', KEYS[1], 20, 'WITHVALUES')
  for i = 1, #some, 2 do
    local since_ms = tonumber(string.match(some[i + 1], '^(%d+) ') or '0')
    if since_ms < now_ms - wait_ms then size = size - redis.call('HDEL', KEYS[1], some[i]) end
  end
end

local places, touched = {}, {}
local corrections = {}

-- What is known of a prediction, with what this call has changed so far.
local function place_of(bucket, field)
  local name = bucket .. field
  local place = places[name]
  if place then return place end
  local key = PREDICTIONS .. bucket
  local found = redis.call('HMGET', key, field, field .. MARK, field .. '0', field .. '1', field .. '2',
    field .. '3', field .. '4', field .. '5', field .. '6', field .. '7', field .. SLICED)
  place = {name = name, key = key, field = field, record = record_of(found[1]), label = found[2], shadows = {},
    slices = slices_of(found[11])}
  for slot = 3, 10 do place.shadows[#place.shadows + 1] = record_of(found[slot]) end
  places[name] = place
  return place
end

local function wait(place, id, text)
  if place.waits == nil then
    local entry = redis.call('HGET', KEYS[1], place.name)
    place.waits = entry and string.match(entry, '^%d+ %S+ (.*)$') or false
  end
  if not place.waits then
    if size >= most_waiting then return 'unknown' end
    size = size + 1
  elseif place.waits ~= text then
    corrections[#corrections + 1] = noted('corrected', id, place.waits, text, now_ms)
  end
  if place.waits ~= text then
    place.waits, place.is_new_wait, place.id = text, true, id
    touched[place.name] = place
  end
  return 'waiting'
end

local function decide(place, made_ms, id, text)
  if not place.record then
    local age_ms = made_ms and now_ms - made_ms or 0
    if age_ms > kept_ms then return 'expired' end
    if age_ms > wait_ms then return 'unknown' end
    return label_of(text) and wait(place, id, text) or 'invalid'
  end
  if place.label == text then return 'duplicate' end
  local label = label_of(text)
  local ours = label and compared(place.record, label)
  if not ours then return 'invalid' end
  local result = 'joined'
  if place.label then
    result = 'corrected'
    corrections[#corrections + 1] = noted(result, id, place.label, text, now_ms)
    local before = label_of(place.label)
    count(place.record, compared(place.record, before), place.shadows, before, place.slices, -1)
  else
    count_age(place.record, now_ms / 1000)
  end
  count(place.record, ours, place.shadows, label, place.slices, 1)
  place.label, place.is_new_label = text, true
  touched[place.name] = place
  return result
end

local results = {}
for i = 8, #ARGV, 5 do
  local place = place_of(ARGV[i], ARGV[i + 1])
  results[#results + 1] = decide(place, tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4])
end

local foreign = foreign_sums()
if foreign then return foreign end
for _, place in pairs(touched) do
  if place.is_new_label then redis.call('HSET', place.key, place.field .. MARK, place.label, MARK, '1') end
  if place.is_new_wait then
    redis.call('HSET', KEYS[1], place.name, string.format('%.0f %s %s', now_ms, place.id, place.waits))
    redis.call('EXPIRE', KEYS[1], math.floor(wait_ms / 1000) + 60)
  end
end
for first = 1, #corrections, CHUNK do
  redis.call('LPUSH', KEYS[2], unpack(corrections, first, math.min(first + CHUNK - 1, #corrections)))
  redis.call('LTRIM', KEYS[2], 0, ARGV[7] - 1)
end
save_sums()
return results
