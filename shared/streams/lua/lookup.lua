-- Read the state of a prediction. A gateway that wants a hint when it finishes is registered in the same step.
--
-- KEYS  state hash, result stream
-- ARGV  gateway id ('' to read only)
-- Returns {'queued', attempt, request stream, principal}, {'finished', fields of the result}, or nil if the state or the result is missing.
local about = redis.call('HMGET', KEYS[1], 'stream', 'result_entry', 'waiters', 'attempt', 'principal')
if not about[1] and not about[2] then return nil end
if about[2] then
  local found = redis.call('XRANGE', KEYS[2], about[2], about[2])[1]
  return found and {'finished', found[2]} or nil
end
local waiters, gateway = about[3] or '', ARGV[1]
if gateway ~= '' and not string.find(',' .. waiters .. ',', ',' .. gateway .. ',', 1, true) then
  -- refused at maxmemory: the gateway then finds the result when it checks again
  redis.pcall('HSET', KEYS[1], 'waiters', waiters == '' and gateway or waiters .. ',' .. gateway)
end
return {'queued', about[4] or '0', about[1], about[5] or ''}
