-- Read the states of predictions. A gateway that wants a hint when one finishes is registered in the same step.
--
-- KEYS  result stream, state hashes
-- ARGV  gateway id ('' to read only); the group of the workers; bytes: once the results read are as many, no more are read;
--       for each state hash 1 if it is to be told where it is in its stream, otherwise 0
-- Returns for each {'queued', attempt, request stream, principal, callback URL}, with where it is: entry, 1 if a worker
-- has it and otherwise 0, length of the stream, ms since it was added to it; {'finished', fields of the result}, without
-- these if no more are read; or nil if the state or the result is missing.
local results, gateway, group, left = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])

local function finished(entry)
  if left <= 0 then return {'finished'} end
  local found = redis.call('XRANGE', results, entry, entry)[1]
  if not found then return false end
  for _, part in ipairs(found[2]) do left = left - #part end
  return {'finished', found[2]}
end

local function queued(state, about, placed)
  local waiters, stream, entry = about[3] or '', about[1], about[6]
  if gateway ~= '' and not string.find(',' .. waiters .. ',', ',' .. gateway .. ',', 1, true) then
    -- refused at maxmemory: the gateway then finds the result when it checks again
    redis.pcall('HSET', state, 'waiters', waiters == '' and gateway or waiters .. ',' .. gateway)
  end
  local told = {'queued', about[4] or '0', stream, about[5] or '', about[7] or ''}
  if placed and entry then
    local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1) -- fails if there is no group yet
    local time = redis.call('TIME')
    told[6], told[7], told[8] = entry, #pending, redis.call('XLEN', stream)
    told[9] = math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - string.match(entry, '^%d+'))
  end
  return told
end

local told = {}
for i = 2, #KEYS do
  local about = redis.call('HMGET', KEYS[i], 'stream', 'result_entry', 'waiters', 'attempt', 'principal', 'entry',
    'callback_url')
  if about[2] then told[i - 1] = finished(about[2])
  else told[i - 1] = about[1] and queued(KEYS[i], about, ARGV[i + 2] == '1') end
end
return told
