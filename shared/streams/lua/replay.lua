-- Give a dead letter another try: its request goes back to its stream under the same id, as the next attempt.
-- The dead letter is the token: XDEL comes first, and only one caller ever sees it return 1.
--
-- KEYS  dead-letter stream, request stream, state hash
-- ARGV  dead letter's entry id, prediction id, model, version, input, options, principal, timeout in ms, traceparent,
--       attempt of the dead letter
-- Returns the new attempt, or 0 where the dead letter is gone.
local stream, state = KEYS[2], KEYS[3]
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', state, 'attempt', 'waiters')
local attempt = math.max(tonumber(ARGV[10]), tonumber(known[1] or '0')) + 1
local entry = redis.call('XADD', stream, '*', 'schema', '1', 'id', ARGV[2], 'attempt', attempt, 'model', ARGV[3],
  'version', ARGV[4], 'input', ARGV[5], 'options', ARGV[6], 'principal', ARGV[7],
  'submitted_at', string.format('%.0f', now), 'deadline_at', string.format('%.0f', now + ARGV[8]), 'traceparent', ARGV[9])
-- The result of the attempt before may still wait to be stored: from here on the state speaks of this one.
redis.call('HDEL', state, 'status', 'result_entry')
redis.call('HSET', state, 'stream', stream, 'entry', entry, 'attempt', attempt, 'waiters', known[2] or '')
return attempt
