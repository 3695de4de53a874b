-- Publish requests for one model version: those that one gateway collected while its previous publish was in progress.
-- A group (the requests of one HTTP request) is accepted or refused as a whole; a refused group leaves nothing behind.
--
-- KEYS  request stream, result stream, waiting bytes, deadlines, bytes of idempotency records, then for each group: its
--       idempotency key if it has one, and the state hash of each request
-- ARGV  gateway id, maximum backlog in entries and in bytes, maximum length of the result stream, maximum percentage of
--       maxmemory, maximum bytes of idempotency records, their TTL in ms,
--       the number of fields that all entries share, and their names and values,
--       the number of fields that differ between entries (`id` first, `input`, `options` and `principal` among them), and their names,
--       then for each group: the number of requests, and the fingerprint of its body ('' without idempotency key),
--       followed by what its ids are made from;
--       and for each of its requests: timeout in ms, 1 if the gateway waits, and the values of the fields that differ
-- Returns for each group 'accepted', the limit that refused it ('backlog', 'backlog_bytes', 'results', 'memory',
-- 'idempotency'), 'conflict' (its key was used with another body), or what the ids of the earlier request with its key
-- are made from.
-- include accounts
local gateway, backlog_limit, bytes_limit, results_limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local memory_percent, records_limit, key_ttl = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local stream, bytes_key, deadlines_key, records_key = KEYS[1], KEYS[3], KEYS[4], KEYS[5]
local RECORD_OVERHEAD = 150 -- bytes of Redis's own for an idempotency record, by MEMORY USAGE

local backlog = redis.call('XLEN', stream)
local label = label_of(stream)
local bytes = backlog > 0 and math.max(0, tonumber(redis.call('HGET', bytes_key, label) or '0')) or 0
local results_full = redis.call('XLEN', KEYS[2]) >= results_limit
local memory = redis.call('INFO', 'memory')
local maxmemory = tonumber(string.match(memory, 'maxmemory:(%d+)'))
local memory_full = maxmemory > 0 and tonumber(string.match(memory, 'used_memory:(%d+)')) * 100 >= maxmemory * memory_percent
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- For speed, one table serves all entries: each overwrites only its own values in it.
local fields, at = {}, 8
for i = at + 1, at + 2 * tonumber(ARGV[at]) do fields[#fields + 1] = ARGV[i] end
at = at + 2 * tonumber(ARGV[at]) + 1
local own = tonumber(ARGV[at])
local first_own, input_at, options_at, principal_at = #fields, 0, 0, 0
for i = 1, own do
  local name = ARGV[at + i]
  fields[first_own + 2 * i - 1] = name
  if name == 'input' then input_at = i
  elseif name == 'options' then options_at = i
  elseif name == 'principal' then principal_at = i end
end
at = at + own + 1
local times = first_own + 2 * own
fields[times + 1], fields[times + 2], fields[times + 3] = 'submitted_at', string.format('%.0f', now), 'deadline_at'
local size, added = 2 + own, false

local function group_bytes(first, count)
  local sum = 0
  for a = first, first + (count - 1) * size, size do sum = sum + #ARGV[a + 1 + input_at] + #ARGV[a + 1 + options_at] end
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

local function add(state, a)
  -- an existing state means that this publish is a retry by the client library
  if redis.call('EXISTS', state) == 1 then return end
  for i = 1, own do fields[first_own + 2 * i] = ARGV[a + 1 + i] end
  fields[times + 4] = string.format('%.0f', now + ARGV[a])
  local entry = redis.call('XADD', stream, '*', unpack(fields))
  redis.call('ZADD', deadlines_key, fields[times + 4], label .. ' ' .. entry)
  redis.call('HSET', state, 'stream', stream, 'entry', entry, 'attempt', '0',
    'waiters', ARGV[a + 1] == '1' and gateway or '', 'principal', ARGV[a + 1 + principal_at])
  added, backlog, bytes = true, backlog + 1, bytes + group_bytes(a, 1)
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
  local verdict = idempotency_key and earlier(idempotency_key, fingerprint)
  if verdict then -- no limits apply, no new entry
  elseif memory_full then verdict = 'memory'
  elseif results_full then verdict = 'results'
  elseif backlog + count > backlog_limit then verdict = 'backlog'
  elseif bytes + group_bytes(at, count) > bytes_limit then verdict = 'backlog_bytes'
  elseif idempotency_key and record_bytes() >= records_limit then verdict = 'idempotency'
  else
    verdict = 'accepted'
    for i = 0, count - 1 do add(KEYS[key + i], at + i * size) end
    if idempotency_key then remember(idempotency_key, fingerprint, batch) end
  end
  verdicts[#verdicts + 1] = verdict
  at = at + count * size
  key = key + count
end
if added then redis.call('HSET', bytes_key, label, string.format('%.0f', bytes)) end
return verdicts
