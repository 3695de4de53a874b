-- List what waits or runs in a request stream, newest first, without its inputs. What is looked at is bounded: entries of
-- others may stand before one's own.
--
-- KEYS  request stream
-- ARGV  group, the entry id below which to begin (of the newest: '+'), the least entry id, the most entries to return and to
--       look at, the most bytes to look at, 'queued' or 'running', then the principal whose they are ('' for anybody), then
--       key and value of a tag that they have ('' for any)
-- Returns the id of the last entry that was looked at if there may be more ('' if not), then for each entry: its id, the
-- prediction's, principal, tags, ms since it was added.
local stream, group, below, least = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local most, most_looked, most_bytes, running = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == 'running'
local principal, tag, tag_value = ARGV[8], ARGV[9], ARGV[10]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function has_tag(tags)
  if tag == '' then return true end
  local good, read = pcall(cjson.decode, tags or '')
  return good and type(read) == 'table' and read[tag] == tag_value
end

local found, looked, bytes = {''}, 0, 0
while true do
  local page = redis.call('XREVRANGE', stream, below == '+' and '+' or '(' .. below, least, 'COUNT', 10)
  if #page == 0 then return found end
  for _, each in ipairs(page) do
    local entry, fields = each[1], {}
    for i = 1, #each[2], 2 do
      fields[each[2][i]] = each[2][i + 1]
      bytes = bytes + #each[2][i + 1]
    end
    looked, below = looked + 1, entry
    if (principal == '' or fields['principal'] == principal) and has_tag(fields['tags']) then
      local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1) -- fails if there is no group yet
      if (#pending > 0) == running then
        found[#found + 1] = entry
        for _, name in ipairs({'id', 'principal', 'tags'}) do found[#found + 1] = fields[name] or '' end
        found[#found + 1] = string.format('%.0f', math.max(0, now - string.match(entry, '^%d+')))
        most = most - 1
      end
    end
    if most <= 0 or looked >= most_looked or bytes >= most_bytes then
      found[1] = entry
      return found
    end
  end
end
