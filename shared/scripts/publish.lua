-- Accept requests for one model version: all that one gateway collected in one tick of its event loop.
-- A group (one HTTP request) is accepted whole or refused whole; a refused group leaves nothing behind.
--
-- KEYS  request stream, result stream, then the state hash of each request
-- ARGV  gateway id, longest backlog, longest result stream, highest share of maxmemory in percent, model, version,
--       then for each group: how many requests; and for each request:
--       id, input, options, principal, timeout in ms, traceparent, 1 where the gateway waits for it
-- Returns for each group: 'accepted', or the limit that refused it: 'backlog', 'results', 'memory'.
local gateway, backlog_limit, results_limit, memory_percent = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local model, version = ARGV[5], ARGV[6]
local stream = KEYS[1]

local backlog = redis.call('XLEN', stream)
local results_full = redis.call('XLEN', KEYS[2]) >= results_limit
local memory = redis.call('INFO', 'memory')
local maxmemory = tonumber(string.match(memory, 'maxmemory:(%d+)'))
local memory_full = maxmemory > 0 and tonumber(string.match(memory, 'used_memory:(%d+)')) * 100 >= maxmemory * memory_percent
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local submitted_at = string.format('%.0f', now)

local verdicts, at, key = {}, 7, 3
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  at = at + 1
  local verdict = 'accepted'
  if memory_full then verdict = 'memory'
  elseif results_full then verdict = 'results'
  elseif backlog + count > backlog_limit then verdict = 'backlog' end
  if verdict == 'accepted' then
    for i = 0, count - 1 do
      local a = at + i * 7
      local state = KEYS[key + i]
      -- an existing state means that this very publish happened before (a client library's retry)
      if redis.call('EXISTS', state) == 0 then
        local entry = redis.call('XADD', stream, '*', 'schema', '1', 'id', ARGV[a], 'attempt', '0', 'model', model,
          'version', version, 'input', ARGV[a + 1], 'options', ARGV[a + 2], 'principal', ARGV[a + 3],
          'submitted_at', submitted_at, 'deadline_at', string.format('%.0f', now + ARGV[a + 4]),
          'traceparent', ARGV[a + 5])
        redis.call('HSET', state, 'stream', stream, 'entry', entry, 'attempt', '0',
          'waiters', ARGV[a + 6] == '1' and gateway or '')
        backlog = backlog + 1
      end
    end
  end
  verdicts[#verdicts + 1] = verdict
  at = at + count * 7
  key = key + count
end
return verdicts
