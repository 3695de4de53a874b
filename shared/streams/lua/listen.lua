-- Have a gateway be told how far a prediction is, until it has finished.
--
-- KEYS  state hash
-- ARGV  gateway id
local about = redis.call('HMGET', KEYS[1], 'stream', 'result_entry', 'listeners')
if not about[1] or about[2] then return end
local listeners = about[3] or ''
if not string.find(',' .. listeners .. ',', ',' .. ARGV[1] .. ',', 1, true) then
  -- refused at maxmemory: the gateway is then told nothing before the result
  redis.pcall('HSET', KEYS[1], 'listeners', listeners == '' and ARGV[1] or listeners .. ',' .. ARGV[1])
end
