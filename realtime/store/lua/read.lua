-- Read one topic: what was missed since a position, if every event of it is kept; else the current
-- statuses, one page of them. A topic without events is given its epoch, so that its first event
-- follows on.
--
-- Whoever gives a digest was told by this store that it stood at the asked position. If it now stands
-- before it, or came here another way, it went back: the topic goes on in a new epoch. (Its offsets
-- go on too, since the list of its tasks is sorted by them.)
--
-- Before this text stand, as locals, what is the same for every call: see scripts.py.
-- KEYS[1]  the topic's position             KEYS[2]  its log
-- KEYS[3]  the task's record, or the list of the topic's tasks
-- ARGV[1]  the topic                        ARGV[2]  "1" for a topic of many tasks
-- ARGV[3]  epoch of the asked position, or ""
-- ARGV[4]  offset of the asked position     ARGV[5]  epoch for a topic that needs one, or ""
-- ARGV[6]  digest of the asked position, "" where a client says where it stands
-- ARGV[7]  statuses in a page, at most      ARGV[8]  where the page continues, "" for the first
-- ARGV[9]  the visitor that the topic is about, or ""
-- Returns  {epoch, offset, digest, "1" if recovered, owner, total, next, moved to, text, …}

local call = redis.call
-- include common.lua
-- include status.lua

local topic, many, limit = ARGV[1], ARGV[2] == '1', tonumber(ARGV[7])
local head = call('GET', KEYS[1]) or ''
local epoch, offset, digest = string.match(head, '^([^ ]+) (%d+) ?(%d*)$')
offset, digest = tonumber(offset) or 0, tonumber(digest) or 0
if not epoch then
  epoch = ARGV[5]
  if epoch ~= '' then
    call('SET', KEYS[1], epoch .. ' 0 0', 'EX', RECORD_TTL)
    call('DEL', KEYS[2])
  end
end

local owner, total, moved = false, false, false
if many then
  -- Of each 1,000 some were renewed, and all are over at last.
  while remove_expired(topic, 1000) == 1000 do end
  total = call('ZCARD', KEYS[3])
  if ARGV[9] ~= '' then
    moved = call('HGET', PREFIX .. 'moved:' .. ARGV[9], 'owner')
  end
else
  local whose = call('HMGET', KEYS[3], '_owner', '_publication')
  -- It may be anybody's where no publication has said whose it is.
  owner = (whose[1] ~= '' or whose[2]) and whose[1]
end
local answer = {epoch, offset, digest, '0', owner, total, false, moved}
local NEXT = 7

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
    answer[1] = ARGV[5]
    call('SET', KEYS[1], string.format('%s %d %d', ARGV[5], offset, digest), 'KEEPTTL')
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
  answer[#answer + 1] = (status_of(KEYS[3]))
  return answer
end

local from, count, bytes, last = ARGV[8] == '' and '+inf' or '(' .. ARGV[8], 0, 0, nil
while not answer[NEXT] do
  local found = call('ZREVRANGEBYSCORE', KEYS[3], from, '-inf', 'WITHSCORES',
    'LIMIT', 0, limit - count + 1)
  if #found == 0 then
    break
  end
  for i = 1, #found, 2 do
    local task_id = found[i]
    local text, whose = status_of(PREFIX .. 'task:' .. task_id)
    from = '(' .. found[i + 1]
    -- Redis had no room for it, or is an older copy; or it expired, and its id is another's now.
    if not text or topic ~= 'user:' .. (whose or '') then
      call('ZREM', KEYS[3], task_id)
      call('ZREM', PREFIX .. 'expiry:' .. topic, task_id)
      answer[6] = answer[6] - 1
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
