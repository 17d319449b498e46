-- Read the recent heads from a place in them on; see recent.lua.
--
-- KEYS[1]  the recent heads
-- ARGV[1]  the epoch of the place, or ""    ARGV[2]  its number, from 1
-- ARGV[3]  how many elements are returned, at most
-- Returns  {epoch, the newest number, the newest element, the one at the place, the next, …}; without
--          those from the place on if the list does not have it; {} where there is no list

local call = redis.call
local header = call('LRANGE', KEYS[1], 0, 0)[1]
if not header then
  return {}
end
local epoch, before = string.match(header, '^([^ ]+) (%d+)$')
local length, index = call('LLEN', KEYS[1]) - 1, ARGV[2] - before
local answer = {epoch, string.format('%d', before + length), call('LRANGE', KEYS[1], -1, -1)[1]}
if epoch == ARGV[1] and index >= 1 then
  for _, text in ipairs(call('LRANGE', KEYS[1], index, index + ARGV[3] - 1)) do
    answer[#answer + 1] = text
  end
end
return answer
