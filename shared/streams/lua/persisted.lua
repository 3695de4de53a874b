-- Delete results that are committed to Postgres, each entry with its state. The state of a later attempt (a replayed
-- dead letter) is kept.
--
-- KEYS  result stream, then the state hash of each entry
-- ARGV  group, then for each entry: entry id, attempt
-- Returns the number of entries deleted.
local entries, states = {}, {}
for i = 2, #KEYS do
  entries[#entries + 1] = ARGV[2 * i - 2]
  local current = redis.call('HGET', KEYS[i], 'attempt')
  if not current or tonumber(current) <= tonumber(ARGV[2 * i - 1]) then states[#states + 1] = KEYS[i] end
end
if #entries == 0 then return 0 end
local deleted = redis.call('XDEL', KEYS[1], unpack(entries))
redis.call('XACK', KEYS[1], ARGV[1], unpack(entries))
if #states > 0 then redis.call('UNLINK', unpack(states)) end
return deleted
