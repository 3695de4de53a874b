-- Read results that nobody has read yet, up to a number of entries and of bytes: few at a time, since only what was read
-- tells its size. At most 7 entries more than the one that exceeds the bytes are read.
--
-- KEYS  result stream
-- ARGV  group, consumer, maximum number of entries, bytes after which no more are read
-- Returns for each entry {entry id, fields}.
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local most, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local read, bytes = {}, 0
while #read < most and bytes < most_bytes do
  local count = math.min(8, most - #read)
  local answer = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', count, 'STREAMS', stream, '>')
  local entries = answer and answer[1][2] or {}
  for _, entry in ipairs(entries) do
    for _, part in ipairs(entry[2]) do bytes = bytes + #part end
    read[#read + 1] = entry
  end
  if #entries < count then break end
end
return read
