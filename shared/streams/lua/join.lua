-- Create a stream, a consumer group that starts at its first entry, and one consumer; harmless if they exist.
-- The group must start at 0: created at $, it would never see what was added before it. At maxmemory XGROUP CREATE is
-- refused unless its script has already written, so a no-op XDEL comes first: a full Redis can still be emptied.
--
-- KEYS  stream
-- ARGV  group, consumer ('' for none)
redis.call('XDEL', KEYS[1], '0-1')
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM') -- fails too, and its error says where
end
if ARGV[2] ~= '' then redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return 1
