-- Writes one batch of a recorder: records of predictions and increments of evidence. Begins with scoring.lua.
--
-- Also settles feedback that waited for these predictions, and scores shadows whose answer comes after the
-- label, so that no order of events loses evidence and none counts anything twice.
--
-- KEYS  1 last batch of this recorder (string)   2 waiting (hash)   3 corrections (list)
--       Also read and written, in the same slot by their tag: buckets of predictions and minutes of evidence.
-- ARGV  1 what keys of predictions begin with   2 ... of evidence   3 seconds to keep evidence
--       4 number of the batch   5 a MessagePack list: minute, field, increment for each increment
--       6 a MessagePack list: for each bucket its name, seconds to keep it, number of records, and field,
--         record for each (one long argument is far cheaper for a gateway to send than thousands)
-- Reply {'done', feedback settled}   {'repeated'}: this batch was applied before
--       {'type', key, type}: a key holds another type of value
--
-- Everything is read and decided before anything is written: what fails, fails with nothing written.

PREDICTIONS, EVIDENCE, EVIDENCE_TTL_S = ARGV[1], ARGV[2], ARGV[3]

for i, wanted in ipairs({'string', 'hash', 'list'}) do
  local found = redis.call('TYPE', KEYS[i])['ok']
  if found ~= 'none' and found ~= wanted then return {'type', KEYS[i], found} end
end
if (tonumber(redis.call('GET', KEYS[1]) or '0') or 0) >= tonumber(ARGV[4]) then return {'repeated'} end

local increments, LIST = cmsgpack.unpack(ARGV[5]), cmsgpack.unpack(ARGV[6])
local at = 1
for i = 1, #increments, 3 do add(increments[i], increments[i + 1], increments[i + 2]) end

local is_awaited = redis.call('HLEN', KEYS[2]) > 0
local buckets = {}    -- {key, ttl_s, first and last index in LIST, or the entries to write instead}
local written = {}    -- bucket .. field -> record, while feedback waits or a bucket holds labels
local awaited = {}    -- {bucket, field, waiting entry}
local late = {}       -- {bucket, field of the primary, record of the shadow, label}

local function is_primary(bucket, field)
  return #field == (string.sub(bucket, 1, 1) == '=' and 1 or 8)
end

-- In a bucket that holds labels: a record that is there keeps its score, a shadow that is new gets one.
local function entries_after_labels(key, bucket, first, last)
  local entries = {}
  for i = first, last, 2 do
    local field, record = LIST[i], LIST[i + 1]
    local base = is_primary(bucket, field) and field or string.sub(field, 1, -2)
    local label = redis.call('HGET', key, base .. MARK)
    local is_there = label and (written[bucket .. field] or redis.call('HEXISTS', key, field) == 1)
    if not is_there then
      entries[#entries + 1] = field
      entries[#entries + 1] = record
      if label then
        written[bucket .. field] = record
        late[#late + 1] = {bucket, base, record, label}
      end
    end
  end
  return entries
end

local function find_awaited(bucket, first, last)
  local fields, names = {}, {}
  for i = first, last, 2 do
    local field = LIST[i]
    local name = bucket .. field
    if is_primary(bucket, field) and not written[name] then
      fields[#fields + 1] = field
      names[#names + 1] = name
    end
    written[name] = LIST[i + 1]
  end
  for from = 1, #names, CHUNK do
    local found = redis.call('HMGET', KEYS[2], unpack(names, from, math.min(from + CHUNK - 1, #names)))
    for i, entry in ipairs(found) do
      if entry then awaited[#awaited + 1] = {bucket, fields[from + i - 1], entry} end
    end
  end
end

while at <= #LIST do
  local bucket, ttl_s, first = LIST[at], LIST[at + 1], at + 3
  local last = first + 2 * LIST[at + 2] - 1
  local key = PREDICTIONS .. bucket
  local is_labelled = redis.call('HEXISTS', key, MARK) == 1
  local entries = is_labelled and entries_after_labels(key, bucket, first, last) or nil
  if is_awaited then find_awaited(bucket, first, last) end
  buckets[#buckets + 1] = {key, ttl_s, first, last, entries}
  local news, from, upto = entries or LIST, entries and 1 or first, entries and #entries or last
  for i = from, upto, 2 do
    gather_output(is_primary(bucket, news[i]) and 'p' or 's', news[i + 1])
  end
  at = last + 1
end

-- What the batch or Redis has at a place.
local function record_at(bucket, field)
  return record_of(written[bucket .. field] or redis.call('HGET', PREDICTIONS .. bucket, field))
end

local function slices_at(bucket, field)
  return slices_of(written[bucket .. field .. SLICED] or redis.call('HGET', PREDICTIONS .. bucket, field .. SLICED))
end

for _, shadow in ipairs(late) do
  local bucket, base = shadow[1], shadow[2]
  local primary, record, label = record_at(bucket, base), record_of(shadow[3]), label_of(shadow[4])
  if primary and record and label then
    count_shadow(primary, compared(primary, label), record, label, slices_at(bucket, base), 1)
  end
end

local time = redis.call('TIME')
local joined, settled, misfits = {}, {}, {}
for _, found in ipairs(awaited) do
  local bucket, field = found[1], found[2]
  local id, text = string.match(found[3], '^%d+ (%S+) (.*)$')
  local primary, label = record_at(bucket, field), text and label_of(text)
  settled[#settled + 1] = bucket .. field
  local ours = primary and label and compared(primary, label)
  if ours then
    local shadows = {}
    for slot = 0, 7 do shadows[#shadows + 1] = record_at(bucket, field .. slot) end
    count(primary, ours, shadows, label, slices_at(bucket, field), 1)
    count_age(primary, time[1])
    joined[#joined + 1] = {PREDICTIONS .. bucket, field .. MARK, text}
  elseif text then
    misfits[#misfits + 1] = noted('invalid', id, '', text, time[1] * 1000)
  end
end

count_outputs()
local foreign = foreign_sums()
if foreign then return foreign end
redis.call('SET', KEYS[1], ARGV[4], 'EX', EVIDENCE_TTL_S)
for _, bucket in ipairs(buckets) do
  local key, ttl_s, first, last, entries = unpack(bucket, 1, 5)
  local from = entries or LIST
  if entries then first, last = 1, #entries end
  for i = first, last, 2 * CHUNK do
    redis.call('HSET', key, unpack(from, i, math.min(i + 2 * CHUNK - 1, last)))
  end
  if redis.call('TTL', key) < ttl_s then redis.call('EXPIRE', key, ttl_s) end
end
for _, label in ipairs(joined) do redis.call('HSET', label[1], label[2], label[3], MARK, '1') end
for i = 1, #settled, CHUNK do
  redis.call('HDEL', KEYS[2], unpack(settled, i, math.min(i + CHUNK - 1, #settled)))
end
for _, misfit in ipairs(misfits) do redis.call('LPUSH', KEYS[3], misfit) end
save_sums()
return {'done', #settled}
