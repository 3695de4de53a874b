-- Claim entries whose consumer has not renewed its claim for the visibility timeout.
-- No lock is needed: the claim itself resets the entry's idle time, so two callers never get the same entry.
--
-- KEYS  stream
-- ARGV  group, consumer, visibility timeout in ms, maximum number of entries
-- Returns Redis's clock in ms, then for each entry {entry id, fields, deliveries including this one}.
--
-- An entry that was delivered before may be what killed its consumer: it is claimed alone. Entries that were released
-- unread (delivery count restored to 0) are claimed together.
local stream, group, consumer, timeout, most = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local claimed = {}
for _, pending in ipairs(redis.call('XPENDING', stream, group, 'IDLE', timeout, '-', '+', most)) do
  local entry, deliveries = pending[1], pending[4]
  if deliveries > 0 and #claimed > 0 then break end
  local got = redis.call('XCLAIM', stream, group, consumer, timeout, entry)
  if got[1] then
    claimed[#claimed + 1] = {entry, got[1][2], deliveries + 1}
  else
    redis.call('XACK', stream, group, entry) -- deleted while pending: nothing left to do
  end
  if deliveries > 0 and #claimed > 0 then break end
end
local time = redis.call('TIME')
return {time[1] * 1000 + math.floor(time[2] / 1000), claimed}
