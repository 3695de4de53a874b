-- Tell the gateways that listen to predictions how far these are. Nothing is written.
--
-- KEYS  the state hash of each
-- ARGV  prefix of the notify channels, then of each: its id, and how far it is, as JSON
-- Returns how many of them somebody listens to.
local listened = 0
for i, state in ipairs(KEYS) do
  local listeners = redis.call('HGET', state, 'listeners')
  if listeners then
    listened = listened + 1
    local hint = 'id\31progress\30' .. ARGV[2 * i] .. '\31' .. ARGV[2 * i + 1]
    for listener in string.gmatch(listeners, '[^,]+') do
      redis.call('PUBLISH', ARGV[1] .. listener, hint)
    end
  end
end
return listened
