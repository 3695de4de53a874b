-- Included by the scripts that add entries to request streams or delete them: the accounts of what waits. They change in
-- the same step as the stream, so at every moment they say what the stream holds:
--   the hash of waiting bytes has for each stream with entries the sum of their bytes,
--   the sorted set of deadlines has for each entry when it expires,
--   the hash of a caller's limits has how many entries it is charged for, their bytes, and when its rates are full again,
--   in ms (`requests` and `compute`; see shared/contract/limits.py).
-- What an operator deletes from a stream by hand is forgotten when the stream is empty, and at the deadline.

-- What both accounts call a stream: `model:version`, or `model:version/batch`.
local function label_of(stream) return string.match(stream, '[^:]*:[^:]*$') end

-- What an entry counts: the bytes of its input and options, and of what is to be kept instead of them; and who is charged
-- for it, with the compute (in us) that was reserved, nil if it is charged to nobody. The last is where the field
-- `stored_input` is, nil if the input is kept as it is.
local function counted(fields)
  local bytes, principal, cost, stored_at = 0, nil, nil, nil
  for i = 1, #fields, 2 do
    local name = fields[i]
    if name == 'input' or name == 'options' then bytes = bytes + #fields[i + 1]
    elseif name == 'principal' then principal = fields[i + 1]
    elseif name == 'cost' then cost = tonumber(fields[i + 1])
    elseif name == 'stored_input' and fields[i + 1] ~= '' then bytes, stored_at = bytes + #fields[i + 1], i end
  end
  if principal == '' then cost = nil end
  return bytes, principal, cost, stored_at
end

-- Add to what callers get back, in a table by principal: one entry less, its bytes, and compute that was used beyond what
-- was reserved (below 0: less).
local function owe(owed, principal, bytes, beyond)
  local own = owed[principal]
  if not own then own = {0, 0, 0}; owed[principal] = own end
  own[1], own[2], own[3] = own[1] + 1, own[2] + bytes, own[3] + beyond
end

-- Give callers back what they are owed. What is kept of a caller may be gone: then nothing of it waits any more.
local function settle(limits_prefix, owed)
  for principal, own in pairs(owed) do
    local key = limits_prefix .. principal
    local known = redis.call('HMGET', key, 'queued', 'bytes', 'compute', 'compute_interval')
    if known[1] then
      local compute, interval = tonumber(known[3] or '0'), tonumber(known[4] or '0')
      redis.call('HSET', key, 'queued', string.format('%.0f', math.max(0, known[1] - own[1])),
        'bytes', string.format('%.0f', math.max(0, (known[2] or 0) - own[2])),
        'compute', string.format('%.3f', compute + own[3] / 1000 * interval))
    end
  end
end

local KEEP_LIMITS_MS = 90000000 -- longer than any entry waits: what nobody has changed for so long counts nothing

-- Charge a caller for an entry that comes back into a stream: as any other, but nothing is refused.
local function charge(key, bytes, cost)
  local known = redis.call('HMGET', key, 'compute', 'compute_interval')
  redis.call('HINCRBY', key, 'queued', 1)
  redis.call('HINCRBY', key, 'bytes', bytes)
  redis.call('HSET', key, 'compute',
    string.format('%.3f', tonumber(known[1] or '0') + cost / 1000 * tonumber(known[2] or '0')))
  redis.call('PEXPIRE', key, KEEP_LIMITS_MS)
end

-- Entries, named `label entry`, with so many bytes in all, were deleted from a stream.
local function take_off(bytes_key, deadlines_key, stream, bytes, entries)
  if redis.call('XLEN', stream) == 0 then
    redis.call('HDEL', bytes_key, label_of(stream))
  elseif bytes > 0 then
    redis.call('HINCRBY', bytes_key, label_of(stream), -bytes)
  end
  redis.call('ZREM', deadlines_key, unpack(entries))
end
