-- Record a worker's heartbeat, and note it among the workers, without those that are silent for too long. The DEL comes
-- first because it frees memory: it works at maxmemory too.
--
-- KEYS  the worker's hash, sorted set of the workers
-- ARGV  the worker's id, time to live in ms, then fields and values
redis.call('DEL', KEYS[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
