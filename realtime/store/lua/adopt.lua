-- Make a visitor's tasks an owner's, some at a time, and note that later ones are the owner's too.
--
-- KEYS[1]  to whom the visitor's tasks were moved
-- KEYS[2]  the running tasks                KEYS[3]  the waiting tasks
-- KEYS[4…] the four keys of the visitor's topic, KEYS[8…] those of the owner's: see lists.lua
-- KEYS[12…] the records of the tasks in ARGV
-- KEYS[#KEYS]  the recent heads
-- ARGV[1]  the visitor                      ARGV[2]  the owner
-- ARGV[3]  the owner's topic                ARGV[4]  its group
-- ARGV[5]  a random name, for an epoch      ARGV[6]  tasks at a time
-- ARGV[7…] the tasks to move; none, to find them
-- Returns  {how many tasks were moved, the next task, …}

local call, recent = redis.call, nil
local function library()
  -- include lists.lua
  return {remove_tasks = remove_tasks, listed = listed}
end

local visitor, owner, topic, group, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local limit, from, k, many = tonumber(ARGV[6]), 4, 8, true
local known = call('HGET', KEYS[1], 'owner')
if known and known ~= owner then
  return {0} -- another owner's since then: a copy of the visitor's session signed in
end
call('HSET', KEYS[1], 'owner', owner)
call('EXPIRE', KEYS[1], UNFINISHED_TTL)

local oldest = call('ZRANGE', KEYS[from + LIST], 0, -1)
if #ARGV == 6 then
  -- Tasks that the list has no room for go first: they are older.
  local answer, on_list = {0}, {}
  for _, task_id in ipairs(oldest) do
    on_list[task_id] = true
  end
  for _, task_id in ipairs(call('ZRANGE', KEYS[from + EXPIRY], 0, #oldest + limit)) do
    if #answer <= limit and not on_list[task_id] then
      answer[#answer + 1] = task_id
    end
  end
  for i = 1, math.min(limit + 1 - #answer, #oldest) do
    answer[#answer + 1] = oldest[i]
  end
  if #answer == 1 and not known then
    library().remove_tasks(from, {''}, name) -- a page that watches it learns that it moved
    -- include recent.lua
  end
  return answer
end

local seconds = tonumber(call('TIME')[1])
local task_ids, count = {unpack(ARGV, 7)}, 0
for i, task_id in ipairs(task_ids) do
  local record_key = 11 + i
  local record = call('HMGET', KEYS[record_key], unpack(KEPT))
  if record[AT._owner] == visitor then
    count = count + 1
    call('HSET', KEYS[record_key], '_owner', owner)
    local ttl = math.max(call('TTL', KEYS[record_key]), 1)
    if call('ZSCORE', KEYS[from + LIST], task_id) then
      local life, version = record[AT._life], tonumber(record[AT.version])
      local state_text = record[AT.state]
      -- include status.lua
      -- include message.lua
      local ttl_changed, head_ttl, renews, lists = false, UNFINISHED_TTL, true, true
      local had_life, had_version = nil, nil
      -- include apply.lua
    else
      library().listed(k, task_id, ttl)
    end
  end
end
library().remove_tasks(from, task_ids, name)
-- include recent.lua
return {count}
