-- Remove a consumer once nothing is pending for it (XGROUP DELCONSUMER would lose what is).
--
-- KEYS  stream
-- ARGV  group, consumer
-- Returns 1 removed, 0 it still holds entries or is not there.
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local name, pending
  for i = 1, #info, 2 do
    if info[i] == 'name' then name = info[i + 1] elseif info[i] == 'pending' then pending = info[i + 1] end
  end
  if name == ARGV[2] and pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    return 1
  end
end
return 0
