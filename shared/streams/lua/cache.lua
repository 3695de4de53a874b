-- Keep a result for a while, unless Redis is short of memory: the cache takes none that requests need.
--
-- KEYS  cached result
-- ARGV  its text, how long it is kept in ms, the percentage of maxmemory in use beyond which nothing is stored
-- Returns 1 if it was stored, otherwise 0.
local memory = redis.call('INFO', 'memory')
local most = tonumber(string.match(memory, 'maxmemory:(%d+)'))
local used = tonumber(string.match(memory, 'used_memory:(%d+)'))
if most > 0 and tonumber(ARGV[3]) < 100 and used * 100 >= most * tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
