-- Remove up to `count` expired tasks of an owner from a topic's list. `keys` has the number in KEYS of
-- each task's record. Return how many were due, how many of them the list had; and, instead, all
-- of them if a record is not in KEYS.
local function remove_expired(k, owner, keys, count)
  local due = call('ZRANGEBYSCORE', KEYS[k + EXPIRY], '-inf', now(), 'LIMIT', 0, count)
  local removed = 0
  for _, task_id in ipairs(due) do
    if not keys[task_id] then
      return #due, 0, due
    end
  end
  for _, task_id in ipairs(due) do
    local key = KEYS[keys[task_id]]
    local left = call('TTL', key)
    -- The same id may have come to another owner after its record had expired.
    if left >= 0 and call('HGET', key, '_owner') == owner then
      call('ZADD', KEYS[k + EXPIRY], now() + math.max(left, 1), task_id)
    else
      call('ZREM', KEYS[k + EXPIRY], task_id)
      removed = removed + call('ZREM', KEYS[k + LIST], task_id)
    end
  end
  return #due, removed, nil
end
