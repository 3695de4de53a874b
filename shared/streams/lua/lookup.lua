-- Read the state of a prediction. A gateway that wants a hint when it finishes is registered in the same step.
--
-- KEYS  state hash, result stream
-- ARGV  gateway id ('' to read only); the group of the workers, to be told too where it is in its stream ('' if not)
-- Returns {'queued', attempt, request stream, principal}, with where it is: entry, 1 if a worker has it and otherwise 0,
-- length of the stream, ms since it was added to it; {'finished', fields of the result}; or nil if the state or the
-- result is missing.
local about = redis.call('HMGET', KEYS[1], 'stream', 'result_entry', 'waiters', 'attempt', 'principal', 'entry')
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
local told, group, stream, entry = {'queued', about[4] or '0', about[1], about[5] or ''}, ARGV[2], about[1], about[6]
if group ~= '' and entry then
  local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1) -- fails if there is no group yet
  local time = redis.call('TIME')
  told[5], told[6], told[7] = entry, #pending, redis.call('XLEN', stream)
  told[8] = math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - string.match(entry, '^%d+'))
end
return told
