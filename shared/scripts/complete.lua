-- Finish requests: the one way an entry leaves its request stream with an outcome.
-- The entry is the token. XDEL comes first and only one caller ever sees it return 1, so a late twin changes nothing;
-- and since the first write frees memory, the script also runs when Redis is at maxmemory.
--
-- KEYS  request stream, result stream, then the state hash of each entry
-- ARGV  group, prefix of the notify channels, longest hint in bytes, model, version,
--       then for each entry: entry id, prediction id, attempt, and the values of status, result, confidence,
--       processing_time_ms, queue_time_ms, error, worker, cached
-- Returns for each entry: 1 finished here, 0 it was finished before.
local stream, results = KEYS[1], KEYS[2]
local group, channel, hint_limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local names = {'status', 'result', 'confidence', 'processing_time_ms', 'queue_time_ms', 'error', 'worker', 'cached'}
local FIELD, ENTRY = '\31', '\30'

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))

local done, hints, entries, key = {}, {}, {}, 3
for at = 6, #ARGV, 11 do
  local entry, id, state = ARGV[at], ARGV[at + 1], KEYS[key]
  key = key + 1
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  entries[#entries + 1] = entry
  if redis.call('XDEL', stream, entry) == 1 then
    local fields = found[2]
    for i, name in ipairs(names) do
      local value = ARGV[at + 2 + i]
      if value ~= '' then
        fields[#fields + 1] = name
        fields[#fields + 1] = value
      end
    end
    fields[#fields + 1] = 'completed_at'
    fields[#fields + 1] = now
    local result_entry = redis.call('XADD', results, '*', unpack(fields))
    local about = redis.call('HMGET', state, 'waiters', 'attempt')
    local waiters = about[1]
    -- where a later attempt is under way (a replay), the state speaks of that one
    local latest = tonumber(about[2] or '0') <= tonumber(ARGV[at + 2])
    if latest then redis.call('HSET', state, 'status', ARGV[at + 3], 'result_entry', result_entry) end
    if latest and waiters and waiters ~= '' then
      local hint = table.concat({id, ARGV[at + 2], ARGV[4], ARGV[5], unpack(ARGV, at + 3, at + 10)}, FIELD)
      if #hint > hint_limit then hint = id end
      for waiter in string.gmatch(waiters, '[^,]+') do
        local list = hints[waiter]
        if not list then list = {}; hints[waiter] = list end
        list[#list + 1] = hint
      end
    end
    done[#done + 1] = 1
  else
    done[#done + 1] = 0
  end
end
if #entries > 0 then redis.call('XACK', stream, group, unpack(entries)) end
for waiter, list in pairs(hints) do
  redis.call('PUBLISH', channel .. waiter, table.concat(list, ENTRY))
end
return done
