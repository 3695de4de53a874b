-- Accept requests for one model version: all that one gateway collected while its last publish was under way.
-- A group (one HTTP request) is accepted whole or refused whole; a refused group leaves nothing behind.
--
-- KEYS  request stream, result stream, then for each group: its idempotency key where it has one, and the state hash
--       of each request
-- ARGV  gateway id, longest backlog, longest result stream, highest share of maxmemory in percent, model, version,
--       time to live of idempotency keys in ms,
--       then for each group: how many requests, and the fingerprint of its body ('' without an idempotency key);
--       and for each request: id, input, options, principal, timeout in ms, traceparent, 1 where the gateway waits
-- Returns for each group 'accepted', the limit that refused it ('backlog', 'results', 'memory'), 'conflict' (its key
-- was used with another body), or the ids, joined by commas, that its key stands for.
local gateway, backlog_limit, results_limit, memory_percent = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local model, version, key_ttl = ARGV[5], ARGV[6], ARGV[7]
local stream = KEYS[1]

local backlog = redis.call('XLEN', stream)
local results_full = redis.call('XLEN', KEYS[2]) >= results_limit
local memory = redis.call('INFO', 'memory')
local maxmemory = tonumber(string.match(memory, 'maxmemory:(%d+)'))
local memory_full = maxmemory > 0 and tonumber(string.match(memory, 'used_memory:(%d+)')) * 100 >= maxmemory * memory_percent
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local submitted_at = string.format('%.0f', now)

local function earlier(idempotency_key, fingerprint)
  local known = redis.call('HMGET', idempotency_key, 'fingerprint', 'ids')
  if not known[1] then return nil end
  return known[1] == fingerprint and known[2] or 'conflict'
end

local function add(state, a)
  -- an existing state means that this very publish happened before (a client library's retry)
  if redis.call('EXISTS', state) == 1 then return end
  local entry = redis.call('XADD', stream, '*', 'schema', '1', 'id', ARGV[a], 'attempt', '0', 'model', model,
    'version', version, 'input', ARGV[a + 1], 'options', ARGV[a + 2], 'principal', ARGV[a + 3],
    'submitted_at', submitted_at, 'deadline_at', string.format('%.0f', now + ARGV[a + 4]), 'traceparent', ARGV[a + 5])
  redis.call('HSET', state, 'stream', stream, 'entry', entry, 'attempt', '0',
    'waiters', ARGV[a + 6] == '1' and gateway or '')
  backlog = backlog + 1
end

local verdicts, at, key = {}, 8, 3
while at <= #ARGV do
  local count, fingerprint = tonumber(ARGV[at]), ARGV[at + 1]
  at = at + 2
  local idempotency_key
  if fingerprint ~= '' then
    idempotency_key = KEYS[key]
    key = key + 1
  end
  local verdict = idempotency_key and earlier(idempotency_key, fingerprint)
  if verdict then -- neither limit nor new entry
  elseif memory_full then verdict = 'memory'
  elseif results_full then verdict = 'results'
  elseif backlog + count > backlog_limit then verdict = 'backlog'
  else
    verdict = 'accepted'
    local ids = {}
    for i = 0, count - 1 do
      add(KEYS[key + i], at + i * 7)
      ids[#ids + 1] = ARGV[at + i * 7]
    end
    if idempotency_key then
      redis.call('HSET', idempotency_key, 'fingerprint', fingerprint, 'ids', table.concat(ids, ','))
      redis.call('PEXPIRE', idempotency_key, key_ttl)
    end
  end
  verdicts[#verdicts + 1] = verdict
  at = at + count * 7
  key = key + count
end
return verdicts
