-- Read one topic: what was missed since a position, if every event of it is kept; else the current
-- statuses. A topic without events is given its epoch, so that its first event follows on.
--
-- Whoever gives a mark was told by this store that it stood at the asked position. If it now stands
-- before it, or came here another way, it went back: the topic goes on in a new epoch. (Its offsets
-- go on too, since the list of its tasks is sorted by them.)
--
-- Before this text stand, as locals, what is the same for every call: see redis.py.
-- KEYS[1]  the topic's position             KEYS[2]  its log
-- KEYS[3]  the task's record, or the list of the topic's tasks
-- ARGV[1]  prefix of the records            ARGV[2]  "1" for a topic of many tasks
-- ARGV[3]  epoch of the asked position, or ""
-- ARGV[4]  offset of the asked position     ARGV[5]  epoch for a topic that needs one, or ""
-- ARGV[6]  mark of the asked position, "" where a client says where it stands
-- Returns  {epoch, offset, mark, "1" if recovered, text, …}

local place = redis.call('GET', KEYS[1]) or ''
local epoch, offset, mark = string.match(place, '^([^ ]+) (%d+) ?(%d*)$')
offset, mark = tonumber(offset) or 0, tonumber(mark) or 0
if not epoch then
  epoch = ARGV[5]
  if epoch ~= '' then
    redis.call('SET', KEYS[1], epoch .. ' 0 0', 'EX', RECORD_TTL)
    redis.call('DEL', KEYS[2])
  end
end
local answer = {epoch, offset, mark, '0'}

if ARGV[3] ~= '' and ARGV[3] == epoch then
  local missed, texts = offset - tonumber(ARGV[4]), {}
  local whole = missed >= 0 and missed <= math.min(redis.call('LLEN', KEYS[2]), HISTORY_SIZE)
  if whole and missed > 0 then
    texts = redis.call('LRANGE', KEYS[2], -missed, -1)
  end
  local went_back = false
  if ARGV[6] ~= '' then
    local led_to = tonumber(ARGV[6])
    for _, text in ipairs(texts) do
      led_to = (31 * led_to + tonumber(string.sub(redis.sha1hex(text), 1, 8), 16)) % 2^32
    end
    went_back = missed < 0 or (whole and led_to ~= mark)
  end
  if went_back then
    answer[1] = ARGV[5]
    redis.call('SET', KEYS[1], string.format('%s %d %d', ARGV[5], offset, mark), 'KEEPTTL')
    redis.call('DEL', KEYS[2])
  elseif whole then
    answer[4] = '1'
    for _, text in ipairs(texts) do
      answer[#answer + 1] = text
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
