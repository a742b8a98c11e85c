-- Where in some buckets are records of one unit? Writes nothing.
--
-- KEYS  buckets of predictions (hashes)
-- ARGV  1 the unit's mark
-- Reply for each record found: its bucket's number and its field; also of what is left without its record, as a
--       shadow's answer that came after an erasure
--
-- The two forms of a place are in contract/record.py: eight bytes in a shared bucket, "=" in a bucket of its own.

local found = {}
for number, key in ipairs(KEYS) do
  if redis.call('TYPE', key)['ok'] == 'hash' then
    local size = string.match(key, '^turnout:{[^}]*}:p:=') and 1 or 8
    local flat = redis.call('HGETALL', key)
    local goes, there = {}, {}
    for i = 1, #flat, 2 do
      if #flat[i] == size then there[flat[i]] = true end
    end
    for i = 1, #flat, 2 do
      local base = string.sub(flat[i], 1, size)
      if #flat[i] == size + 1 and not goes[base] then
        if not there[base] or (string.sub(flat[i], -1) == 'U' and flat[i + 1] == ARGV[1]) then
          goes[base] = true
          found[#found + 1] = number
          found[#found + 1] = base
        end
      end
    end
  end
end
return found
