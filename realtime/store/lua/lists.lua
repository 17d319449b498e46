-- The list of a topic of many tasks. Such a topic has four keys, which stand together in KEYS:
-- k           its head: a text
-- k + LOG     its newest events: a list
-- k + LIST    its newest tasks: a set, sorted by the offset at which each came
-- k + EXPIRY  all its tasks: a set, sorted by when their records expire, or earlier

-- Return the time of Redis, in seconds since 1970: no other clock decides.
local function now()
  return tonumber(call('TIME')[1])
end

-- A task is new in a list. Keep the list short, and note when the task's record expires. Needs the
-- keys of running and waiting tasks in KEYS[2] and KEYS[3].
local function listed(k, task_id, ttl)
  call('ZADD', KEYS[k + EXPIRY], now() + ttl, task_id)
  call('EXPIRE', KEYS[k + LIST], UNFINISHED_TTL + RECORD_TTL)
  call('EXPIRE', KEYS[k + EXPIRY], UNFINISHED_TTL + RECORD_TTL)
  local extra = call('ZCARD', KEYS[k + LIST]) - MAX_LIST_TASKS
  if extra <= 0 then
    return
  end
  call('ZPOPMIN', KEYS[k + LIST], extra)
  -- The set of all tasks must not grow for ever where nobody reads the topic. The time of a task that
  -- has ended is exact; one that has not may have been renewed since.
  for _, due in ipairs(call('ZRANGEBYSCORE', KEYS[k + EXPIRY], '-inf', now(), 'LIMIT', 0, 4)) do
    if call('ZSCORE', KEYS[2], due) or call('ZSCORE', KEYS[3], due) then
      call('ZADD', KEYS[k + EXPIRY], now() + UNFINISHED_TTL, due)
    else
      call('ZREM', KEYS[k + EXPIRY], due)
      call('ZREM', KEYS[k + LIST], due)
    end
  end
end

-- Remove tasks from a topic. Its log may have events of them, so the topic begins a new epoch and its
-- subscribers read it again. Offsets go on, since the list is sorted by them. Adds to `recent`.
local function remove_tasks(k, task_ids, epoch)
  call('ZREM', KEYS[k + LIST], unpack(task_ids))
  call('ZREM', KEYS[k + EXPIRY], unpack(task_ids))
  call('DEL', KEYS[k + LOG])
  local offset, digest = string.match(call('GET', KEYS[k]) or '', '^[^ ]+ (%d+) (%d+)$')
  if offset then
    local head = epoch .. ' ' .. offset .. ' ' .. digest
    call('SET', KEYS[k], head, 'KEEPTTL')
    recent = (recent and recent .. '\n' or '') .. head .. ' ' .. KEYS[k]
  end
end
