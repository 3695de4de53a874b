-- Note which database the predictions of this Redis go to, unless one is noted already.
-- Deleting first, if only a key that does not exist, lets this run when Redis is full, as all that drains it must.
--
-- KEYS  string with the id of the database
-- ARGV  id of the caller's database
-- Returns the id that is noted.
local noted = redis.call('GET', KEYS[1])
if noted then return noted end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
