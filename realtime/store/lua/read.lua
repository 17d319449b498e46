-- Read one topic: the events since a position, if the log has every one of them; else the current
-- statuses, one page of them. A topic without events gets its epoch, so that its first event follows.
--
-- A caller that gives a digest got the requested position from this store. If the topic is now before
-- it, or came to it by other events, the store went back: the topic begins a new epoch, and a task's
-- record a new life. (Offsets go on, since lists are sorted by them.)
--
-- KEYS[1]  the topic's head                 KEYS[2]  its log
-- KEYS[3]  the task's record; or, for a topic of many tasks, KEYS[1…4]: see lists.lua
-- KEYS[5…] for many: if ARGV[9], to whom the visitor's tasks were moved; the records of ARGV[10…]
-- KEYS[#KEYS]  the recent heads
-- ARGV[1]  "1" for a topic of many tasks    ARGV[2]  the owner that such a topic is about
-- ARGV[3]  epoch of the requested position, or ""
-- ARGV[4]  offset of that position          ARGV[5]  a random name, for an epoch; "" for none
-- ARGV[6]  digest at that position, "" if a client gave it
-- ARGV[7]  statuses in a page, at most      ARGV[8]  where the page continues, "" for the first
-- ARGV[9]  "1" if the topic is a visitor's  ARGV[10…] tasks
-- Returns  {epoch, offset, digest, "1" if recovered, owner, total, next, moved to, text, …};
--          or {nil, task, …}: the call is to be repeated with these tasks' records in place of others

local call, recent = redis.call, nil
-- include lists.lua
-- include expired.lua

local many, owner, limit = ARGV[1] == '1', ARGV[2], tonumber(ARGV[7])
local keys, first = {}, ARGV[9] == '1' and 6 or 5
for i = 10, #ARGV do
  keys[ARGV[i]] = first + i - 10
end
local function repeat_with(task_ids)
  return {false, unpack(task_ids)}
end

-- Return the status of a record and its owner; nil for one that expired or was forgotten.
local function status_of(record_key)
  local record = call('HMGET', KEYS[record_key], unpack(READ))
  if not record[1] then
    return nil
  end
  -- include status.lua
  return status, record[AT._owner]
end

if many then
  local due, _, needed
  repeat -- of each 1,000 some were renewed, and all are removed in the end
    due, _, needed = remove_expired(1, owner, keys, 1000)
    if needed then
      -- Some came to be due since the call before, whose other records are needed too.
      for i = 10, due < 1000 and #ARGV or 0 do
        needed[#needed + 1] = ARGV[i]
      end
      return repeat_with(needed)
    end
  until due < 1000
end

local epoch, offset, digest = string.match(call('GET', KEYS[1]) or '', '^([^ ]+) (%d+) (%d+)$')
offset, digest = tonumber(offset) or 0, tonumber(digest) or 0
if not epoch then
  epoch = ARGV[5]
  if epoch ~= '' then
    call('SET', KEYS[1], epoch .. ' 0 0', 'EX', RECORD_TTL)
    call('DEL', KEYS[2])
  end
end

local shown_owner, total, moved = false, false, false
if many then
  total = call('ZCARD', KEYS[1 + LIST])
  if ARGV[9] == '1' then
    moved = call('HGET', KEYS[5], 'owner')
  end
else
  local kept = call('HMGET', KEYS[3], '_owner', '_publication')
  -- A task without a publication may still be anybody's.
  shown_owner = (kept[1] ~= '' or kept[2]) and kept[1]
end
local answer = {epoch, offset, digest, '0', shown_owner, total, false, moved}
local TOTAL, NEXT = 6, 7

if ARGV[3] ~= '' and ARGV[3] == epoch then
  local missed, texts = offset - tonumber(ARGV[4]), {}
  local whole = missed >= 0 and missed <= math.min(call('LLEN', KEYS[2]), MAX_HISTORY_EVENTS)
  if whole and missed > 0 then
    texts = call('LRANGE', KEYS[2], -missed, -1)
  end
  local went_back = false
  if ARGV[6] ~= '' then
    local led_to = tonumber(ARGV[6])
    for _, text in ipairs(texts) do
      led_to = (31 * led_to + tonumber(string.sub(redis.sha1hex(text), 1, 8), 16)) % 2^32
    end
    went_back = missed < 0 or (whole and led_to ~= digest)
  end
  if went_back then
    local name = ARGV[5]
    local head = string.format('%s %d %d', name, offset, digest)
    answer[1] = name
    call('SET', KEYS[1], head, 'KEEPTTL')
    recent = head .. ' ' .. KEYS[1]
    -- include recent.lua
    if not many and call('HGET', KEYS[3], '_life') then
      call('HSET', KEYS[3], '_life', ARGV[5])
    end
    call('DEL', KEYS[2])
  elseif whole then
    answer[4] = '1'
    for _, text in ipairs(texts) do
      answer[#answer + 1] = text
    end
    return answer
  end
end

if not many then
  answer[#answer + 1] = (status_of(3))
  return answer
end

-- Return the status of a task that came to the list since the last call, from the topic's log: else a
-- list to which tasks come all the time would be read again and again.
local events
local function newest_in_log(task_id)
  events = events or call('LRANGE', KEYS[2], 0, -1)
  local beginning = '{"task_id":' .. string.gsub(cjson.encode(task_id), '\\/', '/') .. ','
  for i = #events, 1, -1 do
    if string.sub(events[i], 1, #beginning) == beginning then
      return events[i]
    end
  end
end

local from, count, bytes, last = ARGV[8] == '' and '+inf' or '(' .. ARGV[8], 0, 0, nil
local needed = {}
while not answer[NEXT] do
  local found, missing = call('ZREVRANGEBYSCORE', KEYS[1 + LIST], from, '-inf', 'WITHSCORES',
    'LIMIT', 0, limit - count + 1), false
  if #found == 0 then
    break
  end
  local came, read_before = {}, false
  for i = 1, #found, 2 do
    read_before = read_before or keys[found[i]]
  end
  for i = 1, #found, 2 do
    local task_id = found[i]
    needed[#needed + 1] = task_id
    if not keys[task_id] then
      came[task_id] = read_before and newest_in_log(task_id)
      missing = missing or not came[task_id]
    end
  end
  if missing then
    return repeat_with(needed)
  end
  for i = 1, #found, 2 do
    local task_id = found[i]
    local text, whose = came[task_id], owner
    if not text then
      text, whose = status_of(keys[task_id])
    end
    from = '(' .. found[i + 1]
    -- Redis had no room for it, or is an older copy; or it expired, and its id is another's now.
    if not text or owner ~= whose then
      call('ZREM', KEYS[1 + LIST], task_id)
      call('ZREM', KEYS[1 + EXPIRY], task_id)
      answer[TOTAL] = answer[TOTAL] - 1
    elseif count == limit or (count > 0 and bytes + #text > PAGE_BYTES) then
      answer[NEXT] = last
      break
    else
      answer[#answer + 1] = text
      count, bytes, last = count + 1, bytes + #text, found[i + 1]
    end
  end
end
return answer
