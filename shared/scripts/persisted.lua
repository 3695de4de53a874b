-- Forget results that are committed to Postgres: entry and state go together, so a reader finds one store or the other.
-- The state of a later attempt (a replayed dead letter) stays.
--
-- KEYS  result stream, then the state hash of each entry
-- ARGV  group, then for each entry: entry id, attempt
-- Returns how many entries were deleted.
local deleted = 0
for i = 2, #KEYS do
  local entry, attempt = ARGV[2 * i - 2], ARGV[2 * i - 1]
  deleted = deleted + redis.call('XDEL', KEYS[1], entry)
  redis.call('XACK', KEYS[1], ARGV[1], entry)
  local current = redis.call('HGET', KEYS[i], 'attempt')
  if not current or tonumber(current) <= tonumber(attempt) then redis.call('UNLINK', KEYS[i]) end
end
return deleted
