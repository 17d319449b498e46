-- Apply a status to one topic: its head, its log, its list, and the message to its group.
--
-- Idempotent by (life, version): what the topic already has of the task changes nothing. The rule is
-- the same in the call that keeps the record, in a later one, or again after a crash; statuses of a
-- task are applied in the order of their versions. Not a function: making one costs as much as a short
-- command.
--
-- Takes  `k`, the number of the topic's first key: see lists.lua; `many`, for a topic of many tasks;
--        `had_life` and `had_version`: what the topic has of the task, nil for nothing. In the call
--        that keeps the record, that is what the record had before.
--        `topic`, `group`, `task_id`, `life`, `version`, `status`; `hash` and `packed`, see
--        message.lua; `name`, for a new epoch;
--        `ttl`, of the record, `ttl_changed` and `head_ttl`; `seconds`, the time of Redis; `renews`,
--        to renew the expiry of the log; `lists`, to add the task to a list that has lost it
-- Adds to `recent`, for recent.lua
if had_life ~= life or had_version < version then
  local epoch, offset, digest = string.match(call('GET', KEYS[k]) or '', '^([^ ]+) (%d+) (%d+)$')
  -- A topic that was read before its task was known begins with it.
  local anew = not epoch or (not many and had_life ~= life and (had_life or offset ~= '0'))
  if anew then
    epoch, offset, digest = name, 0, 0
    call('DEL', KEYS[k + LOG]) -- nothing of an older count may stay
    if many then
      call('DEL', KEYS[k + LIST])
    end
  end
  offset = tonumber(offset) + 1
  digest = (31 * tonumber(digest) + hash) % 2^32 -- as next_digest() of core/position.py
  local head = string.format('%s %d %d', epoch, offset, digest)
  call('SET', KEYS[k], head, 'EX', head_ttl)
  recent = recent and recent .. '\n' .. head .. ' ' .. KEYS[k] or head .. ' ' .. KEYS[k]
  -- Cut now and then: readers take no more than MAX_HISTORY_EVENTS.
  local length = call('RPUSH', KEYS[k + LOG], status)
  if length >= MAX_HISTORY_EVENTS + 16 then
    call('LTRIM', KEYS[k + LOG], -MAX_HISTORY_EVENTS, -1)
  end
  if renews or length == 1 or had_life ~= life then
    call('EXPIRE', KEYS[k + LOG], HISTORY_TTL)
  end
  -- "\135" begins a map of seven pairs in MessagePack: see message.lua.
  call('PUBLISH', GROUP_PREFIX .. group,
    "\135\165topic" .. struct.pack('>BI4', 219, #topic) .. topic
      .. "\165epoch" .. struct.pack('>BI4', 219, #epoch) .. epoch
      .. "\166offset" .. cmsgpack.pack(offset) .. packed .. status)
  if many and (lists or anew or had_life ~= life) then
    local is_new
    if had_life == life then
      is_new = call('ZADD', KEYS[k + LIST], 'NX', offset, task_id)
    else
      is_new = call('ZADD', KEYS[k + LIST], offset, task_id) -- to the top
    end
    if is_new == 1 then
      library().listed(k, task_id, ttl)
    elseif had_life ~= life or ttl_changed then
      call('ZADD', KEYS[k + EXPIRY], seconds + ttl, task_id)
    end
  end
end
