-- Remove consumers that have not been heard of for long and hold nothing: those of processes that were killed.
-- One that is alive after all loses nothing: its next read makes it anew.
--
-- KEYS  stream
-- ARGV  group, least idle time in ms
-- Returns how many were removed.
local removed = 0
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local about = {}
  for i = 1, #info, 2 do about[info[i]] = info[i + 1] end
  if about.pending == 0 and about.idle >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], about.name)
    removed = removed + 1
  end
end
return removed
