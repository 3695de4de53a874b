-- Finish requests: delete each entry from its request stream and record its outcome.
-- The entry is the fence: only one caller ever finds it, so a late duplicate changes nothing. The result is added before
-- its entry is deleted: if the user may not run one of the commands, nothing is lost. At maxmemory a script is refused
-- unless its first write needs no memory, so a no-op XDEL comes first.
--
-- KEYS  request stream, result stream, waiting bytes, deadlines, prefix of callers' limits, then the state hash of each
--       entry
-- ARGV  group, prefix of the notify channels, maximum bytes of a hint, model, version,
--       the number of fields of an outcome and their names (including `status` and `compute_us`),
--       then for each entry: entry id, prediction id, attempt, and the values of those fields
-- Returns for each entry: 1 if it was finished here, 0 if it had been finished before.
--
-- Written for speed, since its loop runs once for every prediction: locals instead of globals, and `n` tracks the
-- length of `fields`, because `#fields` would search for it at each addition.
-- include accounts
-- include kept
local argv, call = ARGV, redis.call
local stream, results = KEYS[1], KEYS[2]
local group, channel, hint_limit, model, version = argv[1], argv[2], tonumber(argv[3]), argv[4], argv[5]
local FIELD, RECORD = '\31', '\30'

local count = tonumber(argv[6])
local names = {unpack(argv, 7, 6 + count)}
local status_at, compute_at
for i = 1, count do
  if names[i] == 'status' then status_at = i elseif names[i] == 'compute_us' then compute_at = i end
end
local header = table.concat({'id', 'attempt', 'model', 'version', table.concat(names, FIELD)}, FIELD)

local time = call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))

call('XDEL', stream, '0-1')
local done, hints, entries, members, owed, key, bytes = {}, {}, {}, {}, {}, 6, 0
local label = label_of(stream) .. ' '
for at = 7 + count, #argv, 3 + count do
  local entry, id, attempt, state = argv[at], argv[at + 1], argv[at + 2], KEYS[key]
  local values = at + 2
  key = key + 1
  local found = call('XRANGE', stream, entry, entry)[1]
  entries[#entries + 1] = entry
  members[#entries] = label .. entry
  if found then
    local fields = found[2]
    local n = #fields
    local own_bytes, principal, cost, stored_at = counted(fields)
    if stored_at then keep(fields, stored_at) end
    bytes = bytes + own_bytes
    if cost then owe(owed, principal, own_bytes, (tonumber(argv[values + compute_at]) or 0) - cost) end
    for i = 1, count do
      local value = argv[values + i]
      if value ~= '' then
        fields[n + 1], fields[n + 2] = names[i], value
        n = n + 2
      end
    end
    fields[n + 1], fields[n + 2] = 'completed_at', now
    local result_entry = call('XADD', results, '*', unpack(fields))
    call('XDEL', stream, entry)
    local about = call('HMGET', state, 'waiters', 'attempt')
    local waiters = about[1]
    -- if a later attempt is in progress (a replay), the state belongs to that one
    local latest = about[2] == attempt or tonumber(about[2] or '0') <= tonumber(attempt)
    if latest then
      call('HSET', state, 'status', argv[values + status_at], 'result_entry', result_entry)
      if waiters and waiters ~= '' then
        local hint = id .. FIELD .. attempt .. FIELD .. model .. FIELD .. version .. FIELD
          .. table.concat(argv, FIELD, values + 1, values + count)
        if #hint > hint_limit then hint = id end
        for waiter in string.gmatch(waiters, '[^,]+') do
          local list = hints[waiter]
          if not list then list = {header}; hints[waiter] = list end
          list[#list + 1] = hint
        end
      end
    end
    done[#done + 1] = 1
  else
    done[#done + 1] = 0
  end
end
if #entries > 0 then
  call('XACK', stream, group, unpack(entries))
  take_off(KEYS[3], KEYS[4], stream, bytes, members)
  settle(KEYS[5], owed)
end
for waiter, list in pairs(hints) do
  call('PUBLISH', channel .. waiter, table.concat(list, RECORD))
end
return done
