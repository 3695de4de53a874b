-- Remove consumers that have been idle for a given time and have no pending entries: those of killed processes.
-- If one is alive after all, its next read recreates it.
--
-- KEYS  stream
-- ARGV  group, minimum idle time in ms
-- Returns the number of consumers removed.
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
