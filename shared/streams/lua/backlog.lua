-- Included by the scripts that add entries to request streams or delete them: how many bytes wait in each stream.
-- A counter changes in the same step as its stream, so it is the sum over the stream's entries at every moment. A stream
-- without entries has none, which also ends any error: that of entries that an operator deleted by hand.

-- The bytes that an entry counts, from its fields and values.
local function entry_bytes(fields)
  local bytes = 0
  for i = 1, #fields, 2 do
    local name = fields[i]
    if name == 'input' or name == 'options' then bytes = bytes + #fields[i + 1] end
  end
  return bytes
end

-- Count bytes that were added to a stream (deleted: below 0); `counters` is the hash of all counters.
local function count_bytes(counters, stream, bytes)
  local label = string.match(stream, '[^:]*:[^:]*$')
  if redis.call('XLEN', stream) == 0 then
    redis.call('HDEL', counters, label)
  else
    redis.call('HINCRBY', counters, label, bytes)
  end
end
