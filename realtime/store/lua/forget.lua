-- Remove everything that is kept of some tasks: their records and topics, and their entries in lists.
--
-- A forgotten task leaves a record without a status, as long as its message or its stored result may
-- exist: accept.lua refuses by it what the task's publications still send.
--
-- KEYS[1…] the four keys of an owner's topic: see lists.lua
-- KEYS[5]  the running tasks                KEYS[6]  the waiting tasks
-- KEYS[7…] of each task its record, and the head and the log of its topic
-- KEYS[#KEYS]  the recent heads
-- ARGV[1]  the owner, or ""                 ARGV[2]  a random name, for an epoch
-- ARGV[3]  "1" to withdraw: only a task of which nothing is known but its publication
-- ARGV[4]  … which must be this one; and nothing remains of the task
-- ARGV[5…] tasks
-- Returns  {how many tasks were removed, the owner of one that is another owner's: left as it is}

local call, recent, name = redis.call, nil, ARGV[2]
-- include lists.lua

local withdrawn, removed, others = ARGV[3] == '1', {}, false
for i = 5, #ARGV do
  local task_id, record = ARGV[i], 7 + 3 * (i - 5)
  local state, rank, owner, publication, publications, run_ids, lives = unpack(call('HMGET',
    KEYS[record], 'state', '_rank', '_owner', '_publication', '_publications', '_run_ids', '_lives'))
  owner = owner or ''
  local only_published = state == '"PENDING"' and rank == '0' and (publication or '') == ARGV[4]
  if not state or (withdrawn and not only_published) then
    -- Nothing to remove.
  elseif owner ~= ARGV[1] then
    others = owner
  else
    removed[#removed + 1] = task_id
    call('DEL', KEYS[record], KEYS[record + 1], KEYS[record + 2])
    recent = (recent and recent .. '\n' or '') .. name .. ' 0 0 ' .. KEYS[record + 1] -- no hub has this head: all read the topic
    call('ZREM', KEYS[5], task_id)
    call('ZREM', KEYS[6], task_id)
    if not withdrawn then
      call('HSET', KEYS[record], '_publication', publication or '',
        '_publications', publications or '', '_run_ids', run_ids or '', '_lives', lives or '0')
      call('EXPIRE', KEYS[record],
        tonumber(rank) == RANK.TERMINAL and RECORD_TTL or UNFINISHED_TTL)
    end
  end
end
if #removed > 0 and ARGV[1] ~= '' then
  remove_tasks(1, removed, name)
end
-- include recent.lua
return {#removed, others}
