-- Record a worker's heartbeat. The DEL comes first because it frees memory: it works at maxmemory too.
--
-- KEYS  the worker's hash
-- ARGV  time to live in ms, then fields and values
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
