-- Read one topic: what was missed since a position, if every event of it is kept; else the current
-- statuses. A topic without events is given its epoch, so that its first event follows on.
--
-- Before this text stand, as locals, what is the same for every call: see redis.py.
-- KEYS[1]  the topic's position             KEYS[2]  its log
-- KEYS[3]  the task's record, or the list of the topic's tasks
-- ARGV[1]  prefix of the records            ARGV[2]  "1" for a topic of many tasks
-- ARGV[3]  epoch of the asked position, or ""
-- ARGV[4]  offset of the asked position     ARGV[5]  epoch for a topic that has none, or ""
-- Returns  {epoch, offset, "1" if recovered, text, …}

local epoch, offset = string.match(redis.call('GET', KEYS[1]) or '', '^([^ ]+) (%d+)$')
offset = tonumber(offset or '0')
if not epoch then
  epoch = ARGV[5]
  if epoch ~= '' then
    redis.call('SET', KEYS[1], epoch .. ' 0', 'EX', RECORD_TTL)
    redis.call('DEL', KEYS[2])
  end
end
local answer = {epoch, offset, '0'}

if ARGV[3] ~= '' and ARGV[3] == epoch then
  local missed = offset - tonumber(ARGV[4])
  if missed >= 0 and missed <= math.min(redis.call('LLEN', KEYS[2]), HISTORY_SIZE) then
    answer[3] = '1'
    if missed > 0 then
      for _, text in ipairs(redis.call('LRANGE', KEYS[2], -missed, -1)) do
        answer[#answer + 1] = text
      end
    end
    return answer
  end
end

local function add(record)
  local texts = redis.call('HMGET', record, unpack(FIELDS))
  if not texts[1] then -- no task_id: the record has expired
    return false
  end
  for i = 1, #FIELDS do
    texts[i] = texts[i] or INITIAL[i]
  end
  answer[#answer + 1] = string.format(STATUS, unpack(texts))
  return true
end

if ARGV[2] ~= '1' then
  add(KEYS[3])
else
  for _, task_id in ipairs(redis.call('ZREVRANGE', KEYS[3], 0, -1)) do
    if not add(ARGV[1] .. task_id) then
      redis.call('ZREM', KEYS[3], task_id)
    end
  end
end
return answer
