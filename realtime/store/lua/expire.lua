-- Remove expired tasks from the list of one topic. If the list had one, the topic begins a new epoch,
-- so that its subscribers read it again.
--
-- KEYS[1…] the four keys of the topic: see lists.lua
-- KEYS[5…] the records of the tasks in ARGV
-- KEYS[#KEYS]  the recent heads
-- ARGV[1]  the owner that the topic is about  ARGV[2]  a random name, for an epoch
-- ARGV[3…] tasks
-- Returns  {task, …}: nothing was changed, and the call is to be repeated with these tasks' records in
--          place of others; {} once it is done

local call, recent, name = redis.call, nil, ARGV[2]
-- include lists.lua
-- include expired.lua

local keys = {}
for i = 3, #ARGV do
  keys[ARGV[i]] = i + 2
end
local _, removed, needed = remove_expired(1, ARGV[1], keys, 100)
if removed > 0 then
  remove_tasks(1, {''}, name)
end
-- include recent.lua
return needed or {}
