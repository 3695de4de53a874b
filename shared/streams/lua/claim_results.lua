-- Claim results whose persister has not finished them within the visibility timeout, up to a number of entries and of
-- bytes. No lock is needed: the claim itself resets the entry's idle time, so two callers never get the same entry.
--
-- A batch may be what ended its persister, or be too slow for Postgres. So an entry comes with fewer others the more
-- often it was delivered: a quarter as many each time, and alone in the end.
--
-- KEYS  result stream
-- ARGV  group, consumer, visibility timeout in ms, maximum number of entries, bytes after which no more are claimed
-- Returns for each entry {entry id, fields, deliveries including this one}.
local stream, group, consumer, timeout = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local most, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local claimed, bytes = {}, 0
for _, pending in ipairs(redis.call('XPENDING', stream, group, 'IDLE', timeout, '-', '+', most)) do
  local entry, deliveries = pending[1], pending[4]
  most = math.min(most, math.max(1, math.floor(tonumber(ARGV[4]) / 4 ^ deliveries)))
  if #claimed > 0 and (#claimed >= most or bytes >= most_bytes) then break end
  local got = redis.call('XCLAIM', stream, group, consumer, timeout, entry)
  if got[1] then
    claimed[#claimed + 1] = {entry, got[1][2], deliveries + 1}
    for _, part in ipairs(got[1][2]) do bytes = bytes + #part end
  else
    redis.call('XACK', stream, group, entry) -- deleted while pending: nothing left to do
  end
end
return claimed
