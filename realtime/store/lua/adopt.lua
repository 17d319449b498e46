-- Make the tasks of a visitor an owner's, some at a time, and note that those to come are theirs.
--
-- Before this text stand, as locals, what is the same for every call: see scripts.py.
-- ARGV[1]  the visitor                      ARGV[2]  the owner
-- ARGV[3]  the group of the owner's topic   ARGV[4]  a new name, for an epoch
-- ARGV[5]  tasks at a time
-- Returns  {how many tasks were moved, how many were looked at}

local call = redis.call
-- include common.lua
-- include status.lua

local visitor, owner, group, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local limit = tonumber(ARGV[5])
local from, to, moved = 'user:' .. visitor, 'user:' .. owner, PREFIX .. 'moved:' .. visitor
local known = call('HGET', moved, 'owner')
if known and known ~= owner then
  return {0, 0} -- somebody else's since then, whoever has a copy of the visitor's session
end
call('HSET', moved, 'owner', owner, 'group', group)
call('EXPIRE', moved, UNFINISHED_TTL)

-- Those that the list has no room for go first: they are older.
local task_ids, on_list = {}, {}
local oldest = call('ZRANGE', PREFIX .. 'list:' .. from, 0, -1)
for _, task_id in ipairs(oldest) do
  on_list[task_id] = true
end
for _, task_id in ipairs(call('ZRANGE', PREFIX .. 'expiry:' .. from, 0, #oldest + limit)) do
  if #task_ids < limit and not on_list[task_id] then
    task_ids[#task_ids + 1] = task_id
  end
end
for i = 1, math.min(limit - #task_ids, #oldest) do
  task_ids[#task_ids + 1] = oldest[i]
end

local count = 0
for _, task_id in ipairs(task_ids) do
  local key = PREFIX .. 'task:' .. task_id
  if call('HGET', key, '_owner') == visitor then
    count = count + 1
    call('HSET', key, '_owner', owner, '_group', group)
    if on_list[task_id] then
      local topic, group, status = to, ARGV[3], status_of(key)
      local state = string.sub(call('HGET', key, 'state'), 2, -2)
      local packed = cmsgpack.pack('type', 'realtime.event', 'task_id', task_id,
        'state', state, 'status', status)
      local hash = tonumber(string.sub(redis.sha1hex(status), 1, 8), 16)
      local fresh, is_new, ttl_of_head = false, false, UNFINISHED_TTL
      -- include apply.lua
      call('ZADD', PREFIX .. 'list:' .. to, 'NX', offset, task_id)
    end
    listed(to, task_id, math.max(call('TTL', key), 1))
  end
end
if #task_ids > 0 then
  take_off(from, task_ids, name)
elseif not known then
  take_off(from, {''}, name) -- a page that watches it learns that it moved
end
return {count, #task_ids}
