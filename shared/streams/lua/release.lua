-- Release entries that were read but not started: claimable at once, and this delivery does not count.
--
-- KEYS  stream
-- ARGV  group, consumer, idle time in ms at which an entry is claimable, then entry ids
-- Returns the number of entries released.
local released = 0
for i = 4, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])[1]
  if pending then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', ARGV[3], 'RETRYCOUNT', pending[4] - 1, 'JUSTID')
    released = released + 1
  end
end
return released
