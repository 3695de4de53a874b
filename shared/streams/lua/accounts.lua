-- Included by the scripts that add entries to request streams or delete them: the accounts of what waits. They change in
-- the same step as the stream, so at every moment they say what the stream holds:
--   the hash of waiting bytes has for each stream with entries the sum of their bytes,
--   the sorted set of deadlines has for each entry when it expires.
-- What an operator deletes from a stream by hand is forgotten when the stream is empty, and at the deadline.

-- What both accounts call a stream: `model:version`.
local function label_of(stream) return string.match(stream, '[^:]*:[^:]*$') end

-- The bytes that an entry counts, from its fields and values.
local function entry_bytes(fields)
  local bytes = 0
  for i = 1, #fields, 2 do
    local name = fields[i]
    if name == 'input' or name == 'options' then bytes = bytes + #fields[i + 1] end
  end
  return bytes
end

-- Entries, named `label entry`, with so many bytes in all, were deleted from a stream.
local function take_off(bytes_key, deadlines_key, stream, bytes, entries)
  if redis.call('XLEN', stream) == 0 then
    redis.call('HDEL', bytes_key, label_of(stream))
  elseif bytes > 0 then
    redis.call('HINCRBY', bytes_key, label_of(stream), -bytes)
  end
  redis.call('ZREM', deadlines_key, unpack(entries))
end
