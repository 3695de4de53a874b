-- Make a consumer group that starts at the first entry, its stream, and one consumer of it; harmless where they exist.
-- Starting at 0 matters: a group made at $ would never see what was added before it. XGROUP CREATE is refused at
-- maxmemory, unless its script has written before: so a no-op write comes first, and a full Redis can still be drained.
--
-- KEYS  stream
-- ARGV  group, consumer ('' for none)
redis.call('XDEL', KEYS[1], '0-1')
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
if ARGV[2] ~= '' then redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return 1
