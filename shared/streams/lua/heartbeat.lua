-- Say that a worker is alive. Deleting first frees memory, so that a worker is seen alive at maxmemory too.
--
-- KEYS  worker's hash
-- ARGV  time to live in ms, then fields and values
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
