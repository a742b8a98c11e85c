-- Scores of recorded outputs against labels, as sums of evidence. The common beginning of write.lua and
-- feedback.lua; each sets PREDICTIONS and EVIDENCE (what the names of those keys begin with) and EVIDENCE_TTL_S.
--
-- Nothing here writes but save_sums. Names of the sums: contract/evidence.py; form of a record: contract/record.py.

local PREDICTIONS, EVIDENCE, EVIDENCE_TTL_S
local LARGEST = 1e70        -- of errors and rewards: their fourth powers must still add up in a double
local LONGEST_CLASS = 64    -- bytes of a label or output in a confusion count
local MOST_FIELDS = 4096    -- of one minute's evidence: beyond it no new confusion counts begin
local MOST_OUTPUTS = 64     -- of one version and role in one hash: the rest is counted together as OTHERS
local OTHERS = '(other)'
local CHUNK = 2000          -- entries given to one command: unpack() must stay under Lua's C stack limit
local MARK = 'L'            -- LABEL_SUFFIX: after a field its label; alone in a bucket, a sign that it holds labels
local SLICED = 'S'          -- SLICES_SUFFIX: after a field the slices of its request

-- ---- sums: minute -> field -> {high part, low part}, together 106 bits, so that what a correction takes away
-- is what the label once added, even next to an error a million times larger

local sums = {}

local function plus(sum, x)
  local high = sum[1]
  local total = high + x
  local part = total - high
  local low = sum[2] + ((high - (total - part)) + (x - part))  -- TwoSum: Knuth, TAOCP 2, 4.2.2
  sum[1] = total + low
  sum[2] = low - (sum[1] - total)
end

local function add(minute, field, x)
  local fields = sums[minute]
  if not fields then
    fields = {}
    sums[minute] = fields
  end
  local sum = fields[field]
  if sum then plus(sum, x) else fields[field] = {x, 0} end
end

local function shown(sum)
  local text = string.format('%.17g', sum[1] + 0)
  return sum[2] == 0 and text or text .. ' ' .. string.format('%.17g', sum[2])
end

-- Where a minute's sums belong: a hash of their own, and one of their hour, from which long windows are read.
local function keys_of(minute)
  return {EVIDENCE .. minute, EVIDENCE .. 'h' .. string.format('%d', math.floor(minute / 60))}
end

-- {'type', key, type} if a key of the sums is not a hash; nothing may have been written yet.
local function foreign_sums()
  for minute in pairs(sums) do
    for _, key in ipairs(keys_of(minute)) do
      local found = redis.call('TYPE', key)['ok']
      if found ~= 'hash' and found ~= 'none' then return {'type', key, found} end
    end
  end
end

-- Puts outputs beyond the first MOST_OUTPUTS under one name. How many a hash has is kept in it, as `o#|p|<version>`.
local function fold_outputs(key, fields)
  local folded, counts = {}, {}
  for name, sum in pairs(fields) do
    local whose = string.match(name, '^([ps]|[^|]*)|o:')
    if whose and redis.call('HEXISTS', key, name) == 0 then
      counts[whose] = counts[whose] or tonumber(redis.call('HGET', key, 'o#|' .. whose) or '0')
      if counts[whose] < MOST_OUTPUTS then
        counts[whose] = counts[whose] + 1
        redis.call('HSET', key, 'o#|' .. whose, counts[whose])
      else
        name = whose .. '|o:' .. OTHERS
      end
    end
    local there = folded[name]
    if there then
      folded[name] = {there[1], there[2]}
      plus(folded[name], sum[1])
      plus(folded[name], sum[2])
    else
      folded[name] = sum
    end
  end
  return folded
end

local function save_at(key, fields)
  fields = fold_outputs(key, fields)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  local size = redis.call('HLEN', key)
  for first = 1, #names, CHUNK do
    local stored = redis.call('HMGET', key, unpack(names, first, math.min(first + CHUNK - 1, #names)))
    local changed = {}
    for i, text in ipairs(stored) do
      local name = names[first + i - 1]
      local sum = {fields[name][1], fields[name][2]}
      if text then
        local high, low = string.match(text, '^(%S+) ?(%S*)$')
        plus(sum, tonumber(high) or 0)
        plus(sum, tonumber(low) or 0)
      end
      -- A count that was never begun is not taken from either: then its label was not counted.
      local is_confusion = string.find(name, '^[ps]|[^|]*|c:')  -- of slices none, whatever their values
      if text or not is_confusion or (sum[1] > 0 and size < MOST_FIELDS) then
        if not text then size = size + 1 end
        changed[#changed + 1] = name
        changed[#changed + 1] = shown(sum)
      end
    end
    if #changed > 0 then redis.call('HSET', key, unpack(changed)) end
  end
  redis.call('EXPIRE', key, EVIDENCE_TTL_S)
end

local function save_sums()
  for minute, fields in pairs(sums) do
    for _, key in ipairs(keys_of(minute)) do save_at(key, fields) end
  end
end

-- ---- JSON, as text: numbers keep every digit

-- Where the string that opens at `at` closes.
local function string_end(text, at)
  repeat
    at = string.find(text, '["\\]', at + 1)
    if at and string.sub(text, at, at) == '\\' then
      at = at + 1
    else
      return at
    end
  until false
end

-- The elements' texts; a value that is no list is one row. nil: not JSON.
local function rows_of(text)
  if string.sub(text, 1, 1) ~= '[' then return {text} end
  local rows, depth, first, at = {}, 0, 2, 1
  while true do
    local char = string.sub(text, at, at)
    if char == '"' then
      at = string_end(text, at)
      if not at then return nil end
    elseif char == '[' or char == '{' then
      depth = depth + 1
    else
      if depth == 1 and char ~= '}' and at > first then
        rows[#rows + 1] = string.match(string.sub(text, first, at - 1), '^%s*(.-)%s*$')
      end
      if char == ',' then
        if depth == 1 then first = at + 1 end
      else
        depth = depth - 1
        if depth == 0 then return at == #text and rows or nil end
      end
    end
    at = string.find(text, '["%[%]{},]', at + 1)
    if not at then return nil end
  end
end

local ESCAPED = {['"'] = '\\"', ['\\'] = '\\\\', ['\b'] = '\\b', ['\f'] = '\\f', ['\n'] = '\\n', ['\r'] = '\\r',
  ['\t'] = '\\t'}

local function escaped(char)
  return ESCAPED[char] or string.format('\\u%04x', string.byte(char))
end

-- The kind of a JSON scalar and its one text: 7.0 is 7, and "\u00e4" is the letter itself. nil: no scalar.
local function scalar(text)
  local char = string.sub(text, 1, 1)
  if char == '"' then
    if not string.find(text, '\\', 1, true) then return 'string', text end
    local is_json, value = pcall(cjson.decode, '[' .. text .. ']')
    if not is_json or type(value[1]) ~= 'string' then return nil end
    return 'string', '"' .. string.gsub(value[1], '[%z\1-\31"\\]', escaped) .. '"'
  elseif text == 'true' or text == 'false' then
    return 'boolean', text
  elseif string.match(text, '^-?%d+$') then
    return 'number', text == '-0' and '0' or text
  elseif string.match(text, '^-?%d+%.?%d*[eE]?[+-]?%d*$') then
    local value = tonumber(text)
    if not value or math.abs(value) == math.huge then return nil end
    if value == math.floor(value) and math.abs(value) < 2 ^ 53 then text = string.format('%.0f', value + 0) end
    return 'number', text
  end
end

-- ---- records and labels

local function record_of(text)
  if not text then return nil end
  local version, at_s, kind, output = string.match(text, '^%["([^"]*)",%d+,(%d+),%d+,"(.)[^"]*",(.*)%]$')
  if not version then return nil end
  return {version = version, minute = string.format('%d', math.floor(at_s / 60)), at_s = tonumber(at_s), kind = kind,
    output = output}
end

-- {reward = number} or {rows = texts}. nil: neither.
local function label_of(text)
  local reward = string.match(text, '^reward:(.*)$')
  if not reward then
    local rows = rows_of(text)
    return rows and {rows = rows}
  end
  reward = tonumber(reward)
  return reward and math.abs(reward) < LARGEST and {reward = reward} or nil
end

-- For each row {truth, output} of classes, the error of a number, or false where the output is no value.
-- nil: the label cannot be compared with this record.
local function compared(record, label)
  if label.reward or record.kind == 'n' then return {} end
  local outputs = rows_of(record.output) or {}
  if #outputs ~= #label.rows then return nil end
  local rows = {}
  for i, text in ipairs(label.rows) do
    local kind, truth = scalar(text)
    local output_kind, output = scalar(outputs[i])
    if not kind or (record.kind == 'r' and kind ~= 'number') then return nil end
    if record.kind == 'c' and output_kind then
      if output_kind ~= kind then return nil end
      rows[i] = {truth, output}
    elseif record.kind == 'r' and output_kind == 'number' then
      rows[i] = tonumber(output) - tonumber(truth)
      if not (math.abs(rows[i]) < LARGEST) then return nil end
    else
      rows[i] = false
    end
  end
  return rows
end

-- What the fields of each slice of a request begin with: {'x|x-tenant|beta|'} of 'x-tenant|beta'. nil: none.
local function slices_of(text)
  local found = {}
  for header, value in string.gmatch(text or '', '([^|]+)|([^|]+)') do
    found[#found + 1] = 'x|' .. header .. '|' .. value .. '|'
  end
  return found
end

-- One label's contribution to a version in a role; sign -1 takes it away again. rows nil: joined, not scored.
-- `slice` is what the fields begin with: '' for all requests together.
local function count_role(minute, slice, role, record, rows, sign)
  local name = slice .. role .. '|' .. record.version .. '|'
  add(minute, name .. 'l', sign)
  for _, row in ipairs(rows or {}) do
    if row then add(minute, name .. 'rows', sign) end
    if type(row) == 'number' then
      local square = row * row
      add(minute, name .. 'ae', sign * math.abs(row))
      add(minute, name .. 'se', sign * square)
      add(minute, name .. 'q4', sign * square * square)
    elseif row then
      if row[1] == row[2] then add(minute, name .. 'right', sign) end
      if slice == '' and #row[1] <= LONGEST_CLASS and #row[2] <= LONGEST_CLASS then
        add(minute, name .. 'c:' .. row[1] .. ':' .. row[2], sign)
      end
    end
  end
end

-- The same label's contribution to the pair of versions that answered the same request.
local function count_pair(minute, slice, primary, shadow, ours, theirs, sign)
  if not (ours and theirs) or primary.kind ~= shadow.kind then return end
  local name = slice .. 'd|' .. primary.version .. '|' .. shadow.version .. '|'
  for i, row in ipairs(ours) do
    local other = theirs[i]
    if row and other then
      add(minute, name .. 'rows', sign)
      if type(row) == 'number' then
        local difference = math.abs(other) - math.abs(row)
        add(minute, name .. 'd', sign * difference)
        add(minute, name .. 'd2', sign * difference * difference)
      elseif (row[1] == row[2]) ~= (other[1] == other[2]) then
        add(minute, name .. (row[1] == row[2] and 'b' or 'c'), sign)
      end
    end
  end
end

local function count_shadow(primary, ours, shadow, label, slices, sign)
  if label.reward then return end
  local theirs = compared(shadow, label)
  for _, slice in ipairs({'', unpack(slices)}) do
    count_role(primary.minute, slice, 's', shadow, theirs, sign)
    count_pair(primary.minute, slice, primary, shadow, ours, theirs, sign)
  end
end

-- Everything that one label says: the primary (`ours` is its comparison with the label), and every shadow that
-- answered the same request.
local function count(primary, ours, shadows, label, slices, sign)
  if label.reward then
    local name = 'p|' .. primary.version .. '|'
    add(primary.minute, name .. 'rw', sign * label.reward)
    add(primary.minute, name .. 'rw2', sign * label.reward * label.reward)
    add(primary.minute, name .. 'rwn', sign)
    return
  end
  for _, slice in ipairs({'', unpack(slices)}) do count_role(primary.minute, slice, 'p', primary, ours, sign) end
  for _, shadow in ipairs(shadows) do count_shadow(primary, ours, shadow, label, slices, sign) end
end

-- A number's place in a distribution: fixed, so that counts of all times and processes add up (contract/bins.py).
-- As a number itself, since making text of each would cost more than all the rest: the step, and its sign by side.
local SIDE = 1000

local function bin_of(x)
  if math.abs(x) < 1e-9 then return 0 end
  local step = math.floor(4 * math.log(math.abs(x)) / math.log(2) + 0.5)
  step = SIDE + math.max(-120, math.min(120, step))
  return x < 0 and -step or step
end

local function name_of(bin)
  if bin == 0 then return '0' end
  return (bin < 0 and '-' or '+') .. string.format('%d', math.abs(bin) - SIDE)
end

-- What versions answered: gathered by its text, since of classes there are few, and counted at the end.
local answers = {}    -- kind, role, seconds and version -> {those, and output -> how often}

local function gather_output(role, text)
  local version, at_s, kind, output = string.match(text, '^%["([^"]*)",%d+,(%d+),%d+,"(.)[^"]*",(.*)%]$')
  if not version or kind == 'n' then return end
  local name = kind .. role .. at_s .. '|' .. version
  local of = answers[name]
  if not of then
    of = {kind = kind, minute = string.format('%d', math.floor(at_s / 60)), outputs = {}}
    of.field = role .. '|' .. version .. '|o:'
    answers[name] = of
  end
  of.outputs[output] = (of.outputs[output] or 0) + 1
end

local function number_of(text)
  if string.find(text, '^-?%d+%.?%d*$') then return tonumber(text) end
  local kind, value = scalar(text)
  return kind == 'number' and tonumber(value) or nil
end

local function class_of(text)
  local _, value = scalar(text)
  return value and #value <= LONGEST_CLASS and value or nil
end

local function count_outputs()
  for _, of in pairs(answers) do
    local counts, is_number = {}, of.kind == 'r'
    for output, times in pairs(of.outputs) do
      for _, row in ipairs(rows_of(output) or {}) do
        local value
        if is_number then
          local x = number_of(row)
          value = x and math.abs(x) < math.huge and bin_of(x)
        else
          value = class_of(row)
        end
        if value then counts[value] = (counts[value] or 0) + times end
      end
    end
    for value, times in pairs(counts) do
      add(of.minute, of.field .. (is_number and name_of(value) or value), times)
    end
  end
end

-- How long after its prediction a label came, in powers of two of a second; of a label's first coming only.
local function count_age(record, now_s)
  local octave = math.floor(math.log(math.max(1, now_s - record.at_s)) / math.log(2))
  add(record.minute, 'p|' .. record.version .. '|la:' .. string.format('%d', octave), 1)
end

-- A label that replaced another one, or that could not be compared when its prediction came at last.
local function noted(what, id, before, now, at_ms)
  return '{"what":"' .. what .. '","prediction_id":' .. cjson.encode(id) .. ',"before":' .. cjson.encode(before)
    .. ',"now":' .. cjson.encode(now) .. ',"at_ms":' .. string.format('%.0f', at_ms) .. '}'
end
