-- Find the topics of many tasks that have tasks which may have expired.
--
-- KEYS[1…] when the records of each topic's tasks expire: see lists.lua
-- Returns  the numbers of those topics, from 1

local time, numbers = redis.call('TIME')[1], {}
for number, key in ipairs(KEYS) do
  if #redis.call('ZRANGEBYSCORE', key, '-inf', time, 'LIMIT', 0, 1) > 0 then
    numbers[#numbers + 1] = number
  end
end
return numbers
