-- Functions that several scripts need. Redis makes each of them anew with every call of a script,
-- which costs as much as a short command: accept.lua, which seldom needs any, makes them only then.

local clock
-- The time of Redis, in seconds since 1970: no other clock is asked.
local function now()
  clock = clock or tonumber(call('TIME')[1])
  return clock
end

-- Return a status's text with what a later release keeps in the record besides.
local function with_extra(text, names, record)
  for name in string.gmatch(names, '[^ ]+') do
    local value = call('HGET', record, name) or 'null'
    text = string.sub(text, 1, -2) .. ',"' .. name .. '":' .. value .. '}'
  end
  return text
end

-- Remove up to `count` tasks whose time is over, unless their records were renewed meanwhile;
-- return how many there were, and how many of them were on the list.
local function remove_expired(topic, count)
  local shown = 0
  local expiry = PREFIX .. 'expiry:' .. topic
  local over = call('ZRANGEBYSCORE', expiry, '-inf', now(), 'LIMIT', 0, count)
  for _, task_id in ipairs(over) do
    local key = PREFIX .. 'task:' .. task_id
    local left = call('TTL', key)
    -- The same id may have come to another owner after its record had expired.
    if left >= 0 and topic == 'user:' .. (call('HGET', key, '_owner') or '') then
      call('ZADD', expiry, now() + math.max(left, 1), task_id)
    else
      call('ZREM', expiry, task_id)
      shown = shown + call('ZREM', PREFIX .. 'list:' .. topic, task_id)
    end
  end
  return #over, shown
end

-- A task was put on a topic's list. Keep that list of the newest short, and note in a set of all
-- until when the task is kept.
local function listed(topic, task_id, ttl)
  local tasks, expiry = PREFIX .. 'list:' .. topic, PREFIX .. 'expiry:' .. topic
  call('ZADD', expiry, now() + ttl, task_id)
  call('EXPIRE', tasks, UNFINISHED_TTL + RECORD_TTL)
  call('EXPIRE', expiry, UNFINISHED_TTL + RECORD_TTL)
  local extra = call('ZCARD', tasks) - MAX_LIST_TASKS
  if extra > 0 then
    call('ZPOPMIN', tasks, extra)
    remove_expired(topic, 4)
  end
end

-- Take tasks off a topic. Its log may tell of them, so that the topic goes on in a new epoch:
-- whoever watches it reads it again. Offsets go on, since the list is sorted by them.
local function take_off(topic, task_ids, epoch)
  local head = PREFIX .. 'head:' .. topic
  call('ZREM', PREFIX .. 'list:' .. topic, unpack(task_ids))
  call('ZREM', PREFIX .. 'expiry:' .. topic, unpack(task_ids))
  call('DEL', PREFIX .. 'log:' .. topic)
  local offset, digest = string.match(call('GET', head) or '', '^[^ ]+ (%d+) ?(%d*)$')
  if offset then
    call('SET', head, epoch .. ' ' .. offset .. ' ' .. (tonumber(digest) or 0), 'KEEPTTL')
  end
end

-- Lists of names, each followed by a space; the newest `most` are kept.
local function has(list, each)
  return string.find(' ' .. list, ' ' .. each .. ' ', 1, true)
end
local function added(list, each, most)
  list = list .. each .. ' '
  local _, count = string.gsub(list, ' ', '')
  return count > most and string.sub(list, string.find(list, ' ', 1, true) + 1) or list
end

-- "sender number sender number …", the newest last, with one more; nil for a number that is not
-- news, if that is `checked`.
local function numbered(senders, sender, number, checked)
  if sender == '' or number == '' then
    return senders
  end
  local kept = {}
  for each, last in string.gmatch(senders, '([^ ]+) ([^ ]+) ') do
    if each ~= sender then
      kept[#kept + 1] = each .. ' ' .. last .. ' '
    elseif checked and tonumber(number) <= tonumber(last) then
      return nil
    end
  end
  kept[#kept + 1] = sender .. ' ' .. number .. ' '
  return table.concat(kept, '', math.max(1, #kept - SENDERS_KEPT + 1))
end
