-- Publish requests for one model version: those that one gateway collected while its previous publish was in progress.
-- A group (the requests of one HTTP request) is accepted or refused as a whole; a refused group leaves nothing behind.
--
-- KEYS  request stream, result stream, set of request streams, then for each group: its idempotency key if it has one,
--       and the state hash of each request
-- ARGV  gateway id, maximum backlog, maximum length of the result stream, maximum percentage of maxmemory,
--       TTL of idempotency keys in ms, the request stream's name in the set,
--       the number of fields that all entries share, and their names and values,
--       the number of fields that differ between entries (`id` first), and their names,
--       then for each group: the number of requests, and the fingerprint of its body ('' without idempotency key);
--       and for each of its requests: timeout in ms, 1 if the gateway waits, and the values of the fields that differ
-- Returns for each group 'accepted', the limit that refused it ('backlog', 'results', 'memory'), 'conflict' (its key
-- was used with another body), or the ids of the earlier request with its key, joined by commas.
local gateway, backlog_limit, results_limit, memory_percent = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local key_ttl = ARGV[5]
local stream = KEYS[1]

local backlog = redis.call('XLEN', stream)
local results_full = redis.call('XLEN', KEYS[2]) >= results_limit
local memory = redis.call('INFO', 'memory')
local maxmemory = tonumber(string.match(memory, 'maxmemory:(%d+)'))
local memory_full = maxmemory > 0 and tonumber(string.match(memory, 'used_memory:(%d+)')) * 100 >= maxmemory * memory_percent
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- For speed, one table serves all entries: each overwrites only its own values in it.
local fields, at = {}, 7
for i = at + 1, at + 2 * tonumber(ARGV[at]) do fields[#fields + 1] = ARGV[i] end
at = at + 2 * tonumber(ARGV[at]) + 1
local own = tonumber(ARGV[at])
local first_own = #fields
for i = 1, own do fields[first_own + 2 * i - 1] = ARGV[at + i] end
at = at + own + 1
local times = first_own + 2 * own
fields[times + 1], fields[times + 2], fields[times + 3] = 'submitted_at', string.format('%.0f', now), 'deadline_at'

local function earlier(idempotency_key, fingerprint)
  local known = redis.call('HMGET', idempotency_key, 'fingerprint', 'ids')
  if not known[1] then return nil end
  return known[1] == fingerprint and known[2] or 'conflict'
end

local function add(state, a)
  -- an existing state means that this publish is a retry by the client library
  if redis.call('EXISTS', state) == 1 then return end
  for i = 1, own do fields[first_own + 2 * i] = ARGV[a + 1 + i] end
  fields[times + 4] = string.format('%.0f', now + ARGV[a])
  local entry = redis.call('XADD', stream, '*', unpack(fields))
  redis.call('HSET', state, 'stream', stream, 'entry', entry, 'attempt', '0',
    'waiters', ARGV[a + 1] == '1' and gateway or '')
  backlog = backlog + 1
end

local verdicts, key, size = {}, 4, 2 + own
while at <= #ARGV do
  local count, fingerprint = tonumber(ARGV[at]), ARGV[at + 1]
  at = at + 2
  local idempotency_key
  if fingerprint ~= '' then
    idempotency_key = KEYS[key]
    key = key + 1
  end
  local verdict = idempotency_key and earlier(idempotency_key, fingerprint)
  if verdict then -- no limits apply, no new entry
  elseif memory_full then verdict = 'memory'
  elseif results_full then verdict = 'results'
  elseif backlog + count > backlog_limit then verdict = 'backlog'
  else
    verdict = 'accepted'
    redis.call('SADD', KEYS[3], ARGV[6])
    local ids = {}
    for i = 0, count - 1 do
      add(KEYS[key + i], at + i * size)
      ids[#ids + 1] = ARGV[at + i * size + 2]
    end
    if idempotency_key then
      redis.call('HSET', idempotency_key, 'fingerprint', fingerprint, 'ids', table.concat(ids, ','))
      redis.call('PEXPIRE', idempotency_key, key_ttl)
    end
  end
  verdicts[#verdicts + 1] = verdict
  at = at + count * size
  key = key + count
end
return verdicts
