-- What the scripts that change a topic share: an event, and what one topic does with it.
-- It stands before their own text; before it stand, as locals, what is the same for every call.

local clock
-- The time of Redis, in seconds since 1970: no other clock is asked.
local function now()
  clock = clock or tonumber(redis.call('TIME')[1])
  return clock
end

-- Return a status's text with what a later release keeps in the record besides.
local function with_extra(text, names, record)
  for name in string.gmatch(names, '[^ ]+') do
    local value = redis.call('HGET', record, name) or 'null'
    text = string.sub(text, 1, -2) .. ',"' .. name .. '":' .. value .. '}'
  end
  return text
end

-- Return the text of the status that a record holds; nil where there is none.
local function status_of(record)
  local texts = redis.call('HMGET', record, unpack(READ))
  if not texts[1] then -- no task_id: it has expired, or the task was forgotten
    return nil
  end
  for i = 1, #INITIAL do
    texts[i] = texts[i] or INITIAL[i]
  end
  local text = string.format(STATUS, unpack(texts, 1, #INITIAL))
  local extra = texts[#INITIAL + 1]
  return extra and with_extra(text, extra, record) or text
end

local MAP_OF_SEVEN = string.char(0x87)
-- A map of MessagePack is its size and its pairs: what all topics' messages share is packed once.
local function make_event(task_id, state, text)
  return {
    text = text,
    digest = tonumber(string.sub(redis.sha1hex(text), 1, 8), 16),
    packed = cmsgpack.pack('type', 'realtime.event', 'task_id', task_id, 'state', state,
      'status', text),
  }
end

-- Log and publish an event; return its offset. `epoch` is for a topic that has none; with `fresh`
-- the topic counts anew in it.
local function apply(event, topic, group, epoch, fresh, ttl)
  local place, log = PREFIX .. 'place:' .. topic, PREFIX .. 'log:' .. topic
  local known, offset, mark =
    string.match(redis.call('GET', place) or '', '^([^ ]+) (%d+) ?(%d*)$')
  if fresh or not known then
    known, offset, mark = epoch, 0, 0
    -- Nothing of an older count may stay.
    redis.call('DEL', log, PREFIX .. 'tasks:' .. topic)
  end
  offset = tonumber(offset) + 1
  mark = (31 * (tonumber(mark) or 0) + event.digest) % 2^32 -- as next_mark() of core/position.py
  redis.call('SET', place, string.format('%s %d %d', known, offset, mark), 'EX', ttl)
  -- Cut now and then: whoever reads takes it for as short as it should be.
  if redis.call('RPUSH', log, event.text) >= HISTORY_SIZE + 16 then
    redis.call('LTRIM', log, -HISTORY_SIZE, -1)
  end
  redis.call('EXPIRE', log, HISTORY_TTL)
  redis.call('PUBLISH', GROUP_PREFIX .. group, MAP_OF_SEVEN ..
    cmsgpack.pack('topic', topic, 'epoch', known, 'offset', offset) .. event.packed)
  return offset
end

-- Note until when a task of a topic is kept. The list has the newest tasks only, this set has all.
local function keep_until(topic, task_id, time)
  redis.call('ZADD', PREFIX .. 'expiry:' .. topic, time, task_id)
  redis.call('EXPIRE', PREFIX .. 'expiry:' .. topic, UNFINISHED_TTL)
  redis.call('EXPIRE', PREFIX .. 'tasks:' .. topic, UNFINISHED_TTL)
end

-- Remove up to `count` tasks whose time is over, unless their records were renewed meanwhile;
-- return how many there were.
local function remove_expired(topic, count)
  local expiry = PREFIX .. 'expiry:' .. topic
  local over = redis.call('ZRANGEBYSCORE', expiry, '-inf', now(), 'LIMIT', 0, count)
  for _, task_id in ipairs(over) do
    local left = redis.call('TTL', PREFIX .. 'task:' .. task_id)
    if left >= 0 then
      redis.call('ZADD', expiry, now() + math.max(left, 1), task_id)
    else
      redis.call('ZREM', expiry, task_id)
      redis.call('ZREM', PREFIX .. 'tasks:' .. topic, task_id)
    end
  end
  return #over
end

-- Put a task on top of a topic's list unless it is there; return whether it was not.
local function enlist(topic, task_id, offset)
  local tasks = PREFIX .. 'tasks:' .. topic
  if redis.call('ZADD', tasks, 'NX', offset, task_id) == 0 then
    return false
  end
  local extra = redis.call('ZCARD', tasks) - SNAPSHOT_SIZE
  if extra > 0 then
    redis.call('ZPOPMIN', tasks, extra)
    remove_expired(topic, 4)
  end
  return true
end

-- Take a task off a topic. Its log may tell of the task, so that the topic goes on in a new epoch:
-- whoever watches it reads it again. Offsets go on, since the list is sorted by them.
local function take_off(topic, task_ids, epoch)
  local place = PREFIX .. 'place:' .. topic
  redis.call('ZREM', PREFIX .. 'tasks:' .. topic, unpack(task_ids))
  redis.call('ZREM', PREFIX .. 'expiry:' .. topic, unpack(task_ids))
  redis.call('DEL', PREFIX .. 'log:' .. topic)
  local offset, mark = string.match(redis.call('GET', place) or '', '^[^ ]+ (%d+) ?(%d*)$')
  if offset then
    redis.call('SET', place, epoch .. ' ' .. offset .. ' ' .. (tonumber(mark) or 0), 'KEEPTTL')
  end
end
