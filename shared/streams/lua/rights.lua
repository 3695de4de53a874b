-- Try commands, to learn which of them the user may not run: a script that is refused one of its commands stops half-way.
--
-- KEYS  a key that never exists
-- ARGV  the commands with their arguments, as JSON; with these they change nothing
-- Returns for each that failed: its position, counted from 0, and the error.
local failed = {}
for position, command in ipairs(cjson.decode(ARGV[1])) do
  local answer = redis.pcall(unpack(command))
  if type(answer) == 'table' and answer.err then failed[#failed + 1] = {position - 1, answer.err} end
end
return failed
