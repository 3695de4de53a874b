-- Dead-letter an entry of a request stream: its fields go to the dead-letter stream, its prediction ends as failed.
--
-- KEYS  request stream, dead-letter stream, result stream, state hash (with an empty id if the entry has none), waiting
--       bytes, deadlines, prefix of callers' limits
-- ARGV  group, entry id, reason, error, deliveries, prediction id ('' if unreadable), model, version,
--       prefix of the notify channels
-- Returns 1 if it was dead-lettered here, 0 if it had been finished before.
--
-- As in complete.lua, what is kept is added before the entry is deleted, after a write that needs no memory.
-- include accounts
local stream, dead, results, state = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, entry, reason, err, deliveries, id = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local found = redis.call('XRANGE', stream, entry, entry)[1]
if not found then
  redis.call('XACK', stream, group, entry)
  return 0
end
local function delete()
  redis.call('XDEL', stream, entry)
  redis.call('XACK', stream, group, entry)
  local bytes, principal, cost = counted(found[2])
  take_off(KEYS[5], KEYS[6], stream, bytes, {label_of(stream) .. ' ' .. entry})
  if cost then -- what it has cost is not known: what was reserved is charged
    local owed = {}
    owe(owed, principal, bytes, 0)
    settle(KEYS[7], owed)
  end
end

local about = redis.call('HMGET', state, 'waiters', 'attempt')
redis.call('XDEL', stream, '0-1')
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('XADD', dead, '*', 'source', stream, 'source_entry', entry, 'reason', reason, 'error', err,
  'deliveries', deliveries, 'dead_at', now, unpack(found[2]))
if id == '' then
  delete()
  return 1
end

local original = {}
for i = 1, #found[2], 2 do original[found[2][i]] = found[2][i + 1] end
local attempt = string.match(original['attempt'] or '', '^%d+$') or about[2] or '0'
local stored = original['stored_input'] or ''
local input = reason == 'max_deliveries' and (stored ~= '' and stored or original['input']) or '{}'
local kept = {}
for name in string.gmatch('principal traceparent priority tags callback_url experiment_id arm subject_id shadow_of shadow_for', '%S+') do
  if original[name] then
    kept[#kept + 1] = name
    kept[#kept + 1] = original[name]
  end
end
local result_entry = redis.call('XADD', results, '*', 'schema', '1', 'id', id, 'attempt', attempt,
  'model', ARGV[7], 'version', ARGV[8], 'input', input, 'options', '{}', 'status', 'failed', 'error', err,
  'completed_at', now, unpack(kept))
delete()
-- if a later attempt is in progress (a replay), the state belongs to that one
if tonumber(about[2] or '0') > tonumber(attempt) then return 1 end
redis.call('HSET', state, 'status', 'failed', 'result_entry', result_entry)
for waiter in string.gmatch(about[1] or '', '[^,]+') do
  redis.call('PUBLISH', ARGV[9] .. waiter, 'id\30' .. id) -- a hint without an outcome
end
return 1
