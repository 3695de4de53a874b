-- Remove a consumer if it has no pending entries (XGROUP DELCONSUMER would lose them).
--
-- KEYS  stream
-- ARGV  group, consumer
-- Returns 1 if it was removed, 0 if it has pending entries or does not exist.
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
