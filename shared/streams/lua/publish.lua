-- Publish requests for one model version: those that one gateway collected while its previous publish was in progress.
-- A group (the requests of one HTTP request) is accepted or refused as a whole; a refused group leaves nothing behind.
--
-- KEYS  request stream, result stream, waiting bytes, deadlines, bytes of idempotency records, then for each group: its
--       idempotency key if it has one, its caller's limits if it has any, and the state hash of each request
-- ARGV  gateway id, maximum backlog in entries and in bytes, maximum length of the result stream, maximum bytes of
--       idempotency records, their TTL in ms, maximum percentage of maxmemory (-1: it is not looked at),
--       the number of fields that all entries share, and their names and values,
--       the number of fields that differ between entries (`id` first, `input`, `options` and `principal` among them, `cost`
--       too if a caller has limits, and `stored_input` if an input is not to be kept as it is), and their names,
--       the number of requests that are answered by the cache, and of each its id, the result and its confidence,
--       then for each group: the number of requests, and the fingerprint of its body ('' without idempotency key),
--       followed by what its ids are made from; 1 if its caller has limits, otherwise 0, followed by the units of requests
--       that it counts as, ms until a unit of requests comes back (0: no limit), ms until all do, the same of compute, and
--       the most requests and bytes that may wait (-1: no limit);
--       and for each of its requests: timeout in ms, 1 if the gateway waits, and the values of the fields that differ
-- Returns for each group 'accepted', the limit that refused it ('backlog', 'backlog_bytes', 'results', 'memory',
-- 'idempotency', 'caller_requests', 'caller_compute', 'caller_queued', 'caller_queued_bytes'), 'conflict' (its key was used with another body), or what the ids of the earlier request with its key
-- are made from; as a list with ms until the caller's rates are full and what waits of it, if it has limits.
-- include accounts
-- include kept
local gateway, backlog_limit, bytes_limit, results_limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local records_limit, key_ttl, memory_percent = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local stream, bytes_key, deadlines_key, records_key = KEYS[1], KEYS[3], KEYS[4], KEYS[5]
local RECORD_OVERHEAD = 150 -- bytes of Redis's own for an idempotency record, by MEMORY USAGE

local backlog = redis.call('XLEN', stream)
local label = label_of(stream)
local bytes = backlog > 0 and math.max(0, tonumber(redis.call('HGET', bytes_key, label) or '0')) or 0
local results_full = redis.call('XLEN', KEYS[2]) >= results_limit
local memory_full = false
if memory_percent >= 0 then
  local memory = redis.call('INFO', 'memory')
  local maxmemory = tonumber(string.match(memory, 'maxmemory:(%d+)'))
  memory_full = maxmemory > 0 and tonumber(string.match(memory, 'used_memory:(%d+)')) * 100 >= maxmemory * memory_percent
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- For speed, one table serves all entries: each overwrites only its own values in it.
local fields, at = {}, 8
for i = at + 1, at + 2 * tonumber(ARGV[at]) do fields[#fields + 1] = ARGV[i] end
at = at + 2 * tonumber(ARGV[at]) + 1
local own = tonumber(ARGV[at])
local first_own, input_at, options_at, principal_at, cost_at, stored_at, callback_at = #fields, 0, 0, 0, 0, 0, 0
for i = 1, own do
  local name = ARGV[at + i]
  fields[first_own + 2 * i - 1] = name
  if name == 'input' then input_at = i
  elseif name == 'options' then options_at = i
  elseif name == 'principal' then principal_at = i
  elseif name == 'cost' then cost_at = i
  elseif name == 'stored_input' then stored_at = i
  elseif name == 'callback_url' then callback_at = i end
end
at = at + own + 1
local answered = {} -- by id: result and confidence
for i = at + 1, at + 3 * tonumber(ARGV[at]), 3 do answered[ARGV[i]] = {ARGV[i + 1], ARGV[i + 2]} end
at = at + 3 * tonumber(ARGV[at]) + 1
local times = first_own + 2 * own
fields[times + 1], fields[times + 2], fields[times + 3] = 'submitted_at', string.format('%.0f', now), 'deadline_at'
local size, added = 2 + own, false

-- The bytes that a request counts.
local function bytes_at(a)
  local stored = stored_at > 0 and #ARGV[a + 1 + stored_at] or 0
  return #ARGV[a + 1 + input_at] + #ARGV[a + 1 + options_at] + stored
end

-- Of a group: how many will wait, and their bytes. What is answered already does not.
local function waiting_of(first, count)
  local waiting, sum = 0, 0
  for a = first, first + (count - 1) * size, size do
    if not answered[ARGV[a + 2]] then
      waiting, sum = waiting + 1, sum + bytes_at(a)
    end
  end
  return waiting, sum
end

local function group_cost(first, count)
  local sum = 0
  for a = first, first + (count - 1) * size, size do
    if not answered[ARGV[a + 2]] then sum = sum + (tonumber(ARGV[a + 1 + cost_at]) or 0) end
  end
  return sum
end

local function earlier(idempotency_key, fingerprint)
  local known = redis.call('HMGET', idempotency_key, 'fingerprint', 'batch')
  if not known[1] then return nil end
  return known[1] == fingerprint and known[2] or 'conflict'
end

-- Records are counted by when they expire, in 24ths of their TTL: a counter is deleted once all of its records are gone.
local slot_ms, records = math.max(1, math.floor(key_ttl / 24)), nil
local function record_bytes()
  if records then return records end
  records = 0
  local slots, oldest = redis.call('HGETALL', records_key), math.floor((now - key_ttl) / slot_ms)
  for i = 1, #slots, 2 do
    if tonumber(slots[i]) < oldest then redis.call('HDEL', records_key, slots[i])
    else records = records + tonumber(slots[i + 1]) end
  end
  return records
end

local function remember(idempotency_key, fingerprint, batch)
  redis.call('HSET', idempotency_key, 'fingerprint', fingerprint, 'batch', batch)
  redis.call('PEXPIRE', idempotency_key, key_ttl)
  local record = RECORD_OVERHEAD + #idempotency_key + #fingerprint + #batch
  redis.call('HINCRBY', records_key, string.format('%.0f', math.floor(now / slot_ms)), record)
  records = records + record
end

-- The result of a request that is answered already: as if it had been computed at once.
local function add_result(state, answer, principal)
  local all = {unpack(fields, 1, times + 4)}
  local stored = first_own + 2 * stored_at - 1
  if stored_at > 0 and all[stored + 1] ~= '' then keep(all, stored) end
  for _, each in ipairs({'status', 'succeeded', 'result', answer[1], 'cached', '1', 'completed_at', fields[times + 2]}) do
    all[#all + 1] = each
  end
  if answer[2] ~= '' then all[#all + 1] = 'confidence'; all[#all + 1] = answer[2] end
  local entry = redis.call('XADD', KEYS[2], '*', unpack(all))
  redis.call('HSET', state, 'stream', stream, 'attempt', '0', 'principal', principal, 'status', 'succeeded',
    'result_entry', entry)
end

local function add(state, a)
  -- an existing state means that this publish is a retry by the client library
  if redis.call('EXISTS', state) == 1 then return end
  for i = 1, own do fields[first_own + 2 * i] = ARGV[a + 1 + i] end
  fields[times + 4] = string.format('%.0f', now + ARGV[a])
  local answer = answered[ARGV[a + 2]]
  if answer then return add_result(state, answer, ARGV[a + 1 + principal_at]) end
  local entry = redis.call('XADD', stream, '*', unpack(fields))
  redis.call('ZADD', deadlines_key, fields[times + 4], label .. ' ' .. entry)
  redis.call('HSET', state, 'stream', stream, 'entry', entry, 'attempt', '0',
    'waiters', ARGV[a + 1] == '1' and gateway or '', 'principal', ARGV[a + 1 + principal_at])
  if callback_at > 0 and ARGV[a + 1 + callback_at] ~= '' then
    redis.call('HSET', state, 'callback_url', ARGV[a + 1 + callback_at])
  end
  added, backlog, bytes = true, backlog + 1, bytes + bytes_at(a)
end

-- What is known of the callers of this call, by the key of their limits; written back once.
local callers = {}
local function caller_of(limits_key)
  local own = callers[limits_key]
  if not own then
    local known = redis.call('HMGET', limits_key, 'requests', 'compute', 'queued', 'bytes')
    own = {requests = math.max(now, tonumber(known[1] or '0')), compute = math.max(now, tonumber(known[2] or '0')),
      queued = tonumber(known[3] or '0'), bytes = tonumber(known[4] or '0')}
    callers[limits_key] = own
  end
  return own
end

-- The limit of its caller that a group exceeds, nil if it is charged; `limits` are the seven numbers of ARGV.
local function exceeds(own, limits, count, cost, group_size)
  local requests = own.requests + limits[1] * limits[2]
  local compute = own.compute + cost / 1000 * limits[4]
  if limits[2] > 0 and requests - now > limits[3] + 0.001 then return 'caller_requests' end
  if limits[4] > 0 and compute - now > limits[5] + 0.001 then return 'caller_compute' end
  if limits[6] >= 0 and own.queued + count > limits[6] then return 'caller_queued' end
  if limits[7] >= 0 and own.bytes + group_size > limits[7] then return 'caller_queued_bytes' end
  own.requests, own.compute, own.interval = requests, compute, limits[4]
  own.queued, own.bytes, own.changed = own.queued + count, own.bytes + group_size, true
  return nil
end

local verdicts, key = {}, 6
while at <= #ARGV do
  local count, fingerprint = tonumber(ARGV[at]), ARGV[at + 1]
  at = at + 2
  local idempotency_key, batch
  if fingerprint ~= '' then
    idempotency_key, batch = KEYS[key], ARGV[at]
    key, at = key + 1, at + 1
  end
  local own_limits, caller
  if ARGV[at] == '1' then
    own_limits, caller = {}, caller_of(KEYS[key])
    for i = 1, 7 do own_limits[i] = tonumber(ARGV[at + i]) end
    key, at = key + 1, at + 7
  end
  at = at + 1
  local waiting, waiting_bytes = waiting_of(at, count)
  local verdict = idempotency_key and earlier(idempotency_key, fingerprint)
  if verdict then -- no limits apply, no new entry
  elseif caller and redis.call('EXISTS', KEYS[key]) == 1 then verdict = 'accepted' -- before: a retry by the client library
  elseif memory_full then verdict = 'memory'
  elseif results_full then verdict = 'results'
  elseif backlog + waiting > backlog_limit then verdict = 'backlog'
  elseif bytes + waiting_bytes > bytes_limit then verdict = 'backlog_bytes'
  elseif idempotency_key and record_bytes() >= records_limit then verdict = 'idempotency'
  elseif caller then verdict = exceeds(caller, own_limits, waiting, group_cost(at, count), waiting_bytes) end
  if not verdict then
    verdict = 'accepted'
    for i = 0, count - 1 do add(KEYS[key + i], at + i * size) end
    if idempotency_key then remember(idempotency_key, fingerprint, batch) end
  end
  verdicts[#verdicts + 1] = caller and {verdict, string.format('%.0f', caller.requests - now),
    string.format('%.0f', caller.compute - now), caller.queued, caller.bytes} or verdict
  at = at + count * size
  key = key + count
end
for limits_key, own in pairs(callers) do
  if own.changed then
    redis.call('HSET', limits_key, 'requests', string.format('%.3f', own.requests), 'compute',
      string.format('%.3f', own.compute), 'compute_interval', own.interval, 'queued', string.format('%.0f', own.queued),
      'bytes', string.format('%.0f', own.bytes))
    redis.call('PEXPIRE', limits_key, KEEP_LIMITS_MS)
  end
end
if added then redis.call('HSET', bytes_key, label, string.format('%.0f', bytes)) end
return verdicts
