-- Every document whose field begins with one of some words.
--
-- KEYS  1 documents (hash)
-- ARGV  what the fields begin with
-- Reply {field, envelope, field, envelope, ...}, in no order
--
-- Names are looked at first: of 10,000 versions a reader of routes is sent none.

local wanted = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  for _, prefix in ipairs(ARGV) do
    if string.sub(field, 1, #prefix) == prefix then
      wanted[#wanted + 1] = field
      break
    end
  end
end
local found = {}
for first = 1, #wanted, 1000 do
  local last = math.min(first + 999, #wanted)
  local envelopes = redis.call('HMGET', KEYS[1], unpack(wanted, first, last))
  for i = first, last do
    found[#found + 1] = wanted[i]
    found[#found + 1] = envelopes[i - first + 1]
  end
end
return found
