-- Remove all that is kept of some tasks: their records and topics, and their entries in lists.
--
-- What remains of a forgotten one is a record without a status, for as long as its message or its
-- stored result may be about: accept.lua finds what they still bring stale.
--
-- Before this text stand, as locals, what is the same for every call: see scripts.py.
-- ARGV[1]  a new name, for an epoch         ARGV[2]  "1" to withdraw: only a task of which nothing
-- ARGV[3]  … but this publication is known, and of which nothing remains
-- ARGV[4…] task ids
-- Returns  how many tasks there were

local call = redis.call
-- include common.lua

local withdrawn = ARGV[2] == '1'
local removed, by_owner = 0, {}
for i = 4, #ARGV do
  local task_id, key = ARGV[i], PREFIX .. 'task:' .. ARGV[i]
  local kept = call('HMGET', key, 'state', '_rank', '_owner', '_publication',
    '_publications', '_run_ids', '_lives')
  local state, rank, owner, publication = unpack(kept, 1, 4)
  local only_published = state == '"PENDING"' and rank == '0' and (publication or '') == ARGV[3]
  if state and (only_published or not withdrawn) then
    removed = removed + 1
    local topic = 'task:' .. task_id
    call('DEL', key, PREFIX .. 'head:' .. topic, PREFIX .. 'log:' .. topic)
    call('ZREM', PREFIX .. 'waiting', task_id)
    call('ZREM', PREFIX .. 'running', task_id)
    if owner and owner ~= '' then
      by_owner[owner] = by_owner[owner] or {}
      table.insert(by_owner[owner], task_id)
    end
    if not withdrawn then
      call('HSET', key, '_publication', publication or '', '_publications', kept[5] or '',
        '_run_ids', kept[6] or '', '_lives', kept[7] or '0')
      call('EXPIRE', key, tonumber(rank) == RANK.TERMINAL and RECORD_TTL or UNFINISHED_TTL)
    end
  end
end
for owner, task_ids in pairs(by_owner) do
  take_off('user:' .. owner, task_ids, ARGV[1])
end
return removed
