-- Count another delivery of an entry to the consumer that holds it: what computed it was lost, and it is tried again.
--
-- KEYS  stream
-- ARGV  group, consumer, entry id
-- Returns the deliveries so far; 0 if the entry is no longer this consumer's.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2])[1]
if not pending then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', pending[4] + 1, 'JUSTID')
return pending[4] + 1
