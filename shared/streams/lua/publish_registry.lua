-- Publish the registry, unless a newer one is there.
--
-- KEYS  hash of the epochs
-- ARGV  epoch, the registry as JSON
-- Returns 1 if it is there now, 0 if a newer one is.
local there = tonumber(redis.call('HGET', KEYS[1], 'models'))
if there and there > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'models', ARGV[1], 'models_content', ARGV[2])
return 1
