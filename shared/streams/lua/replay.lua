-- Replay a dead letter: its request goes back to its stream under the same id, as the next attempt.
-- The dead letter is the fence: only one caller ever finds it. It is deleted last: if the user may not run one of the
-- commands, nothing is lost.
-- A request that was replayed too often stays a dead letter.
--
-- KEYS  dead-letter stream, request stream, state hash, waiting bytes, deadlines, prefix of callers' limits
-- ARGV  the dead letter's entry id, its attempt, timeout in ms, the last attempt there may be, then the names of a
--       request's fields
-- Returns the new attempt, 0 if the dead letter is gone, or -1 if that attempt would be one too many.
-- include accounts
local dead, stream, state = KEYS[1], KEYS[2], KEYS[3]
local letter = redis.call('XRANGE', dead, ARGV[1], ARGV[1])[1]
if not letter then return 0 end
local known = redis.call('HMGET', state, 'attempt', 'waiters')
local attempt = math.max(tonumber(ARGV[2]), tonumber(known[1] or '0')) + 1
if attempt > tonumber(ARGV[4]) then return -1 end
local original = {}
for i = 1, #letter[2], 2 do original[letter[2][i]] = letter[2][i + 1] end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
original['attempt'] = attempt
local fields = {}
for i = 5, #ARGV do
  local value = original[ARGV[i]]
  if value then
    fields[#fields + 1] = ARGV[i]
    fields[#fields + 1] = value
  end
end
local entry = redis.call('XADD', stream, '*', 'submitted_at', string.format('%.0f', now),
  'deadline_at', string.format('%.0f', now + ARGV[3]), unpack(fields))
local bytes, principal, cost = counted(fields)
redis.call('HINCRBY', KEYS[4], label_of(stream), bytes)
if cost then charge(KEYS[6] .. principal, bytes, cost) end
redis.call('ZADD', KEYS[5], now + ARGV[3], label_of(stream) .. ' ' .. entry)
-- The result of the previous attempt may not be stored yet; from now on the state belongs to this attempt.
redis.call('HDEL', state, 'status', 'result_entry')
redis.call('HSET', state, 'stream', stream, 'entry', entry, 'attempt', attempt, 'waiters', known[2] or '',
  'principal', original['principal'] or '')
if original['callback_url'] then redis.call('HSET', state, 'callback_url', original['callback_url']) end
redis.call('XDEL', dead, ARGV[1])
return attempt
