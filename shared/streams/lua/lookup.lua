-- The state of a prediction; a gateway that wants to be told of its end registers in the same step.
--
-- KEYS  state hash, result stream
-- ARGV  gateway id ('' to look only)
-- Returns nil where there is no state, {'queued', attempt}, or {'finished', fields of the result}.
local about = redis.call('HMGET', KEYS[1], 'stream', 'result_entry', 'waiters', 'attempt')
if not about[1] and not about[2] then return nil end
if about[2] then
  local found = redis.call('XRANGE', KEYS[2], about[2], about[2])[1]
  return found and {'finished', found[2]} or nil
end
local waiters, gateway = about[3] or '', ARGV[1]
if gateway ~= '' and not string.find(',' .. waiters .. ',', ',' .. gateway .. ',', 1, true) then
  -- at maxmemory this is refused: the gateway then finds the end when it looks again
  redis.pcall('HSET', KEYS[1], 'waiters', waiters == '' and gateway or waiters .. ',' .. gateway)
end
return {'queued', about[4] or '0'}
