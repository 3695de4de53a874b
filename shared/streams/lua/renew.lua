-- Renew the claims on entries that are still being computed, but only on those that the caller still owns.
-- (A bare XCLAIM would steal back an entry that another worker has claimed since.)
--
-- KEYS  stream
-- ARGV  group, consumer, then entry ids
-- Returns the number of claims renewed.
local renewed = 0
for i = 3, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])[1]
  if pending then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
    renewed = renewed + 1
  end
end
return renewed
