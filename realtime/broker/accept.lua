-- Accept one change of one task: compare, version + 1, keep, log, publish. Atomic.
--
-- The rule is that of core/acceptance.py; tests/cases/acceptance.json holds both to it.
-- Arguments are text here: every number is converted before it is compared.
--
-- KEYS[1]  the task's record, a hash: the status's keys as JSON text, and "_…" for the rule
-- ARGV[1]  prefix of every key              ARGV[2]  prefix of every group's Redis channel
-- ARGV[3]  task id                          ARGV[4]  state, "" for a word that changes none
-- ARGV[5]  rank of the state                ARGV[6]  attempt, "" for the current one
-- ARGV[7]  run token, or ""                 ARGV[8]  "1" if nothing of this run was accepted yet
-- ARGV[9]  counter, "" for the next one     ARGV[10] "1" if found in the result backend
-- ARGV[11] owner, or ""                     ARGV[12] topics: "topic group limit …", limit 0 for
--                                                    a topic of one task
-- ARGV[13] epoch for a topic that has none  ARGV[14] seconds to keep the record
-- ARGV[15] seconds to keep a topic          ARGV[16] events a log keeps
-- ARGV[17] seconds to keep a log            ARGV[18] run tokens a record remembers
-- ARGV[19] the status's keys in order, "key=initial …"
-- ARGV[20…] key, text, …
-- Keeps, besides, who is "running" and "waiting": sorted by when they last began to be so, by the
-- clock of Redis alone.
-- Returns  the new version; 0 if the change is stale

local prefix, group_prefix, task_id = ARGV[1], ARGV[2], ARGV[3]
local state, token, owner = ARGV[4], ARGV[7], ARGV[11]
local rank = tonumber(ARGV[5])
local TERMINAL, STARTED, CUSTOM = 9, 2, 3

local record = {}
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  record[flat[i]] = flat[i + 1]
end
local known = record.state ~= nil

-- What is kept of the last change, and of this one.
local run, attempt = tonumber(record.run or '1'), tonumber(record.attempt or '0')
local kept_rank, kept_counter = tonumber(record._rank or '-1'), tonumber(record._counter or '0')
local kept_token, tokens = record._token or '', record._tokens or ''
local stalled = record.state == '"STALLED"'
local changes = {}
local function set(key, text)
  record[key] = text
  changes[#changes + 1] = key
  changes[#changes + 1] = text
end

if state == '' then
  if not known or kept_rank == TERMINAL then
    return 0
  end
elseif state == 'STALLED' then
  if stalled or kept_rank < STARTED or kept_rank > CUSTOM or token ~= kept_token then
    return 0
  end
  set('state', '"STALLED"')
elseif state == 'STARTED' and stalled and token == kept_token then
  set('state', '"STARTED"') -- its worker answers again
else
  local new_run, new_attempt = run, tonumber(ARGV[6]) or attempt
  local counter = 0
  if known then
    if record.state == '"SUCCESS"' or new_attempt < attempt then
      return 0
    end
    local ended = kept_rank == TERMINAL
    if token ~= '' and token ~= kept_token then
      if ARGV[8] ~= '1' or string.find(tokens, token .. ' ', 1, true) then
        return 0
      end
      if new_attempt == attempt and (kept_token ~= '' or ended) then
        new_run = run + 1
      end
    end
    if rank == CUSTOM then
      counter = tonumber(ARGV[9]) or (kept_rank == CUSTOM and kept_counter + 1 or 1)
    end
    local overruled = ARGV[10] == '1' and state == 'SUCCESS' and ended
    if not overruled and new_run == run then
      if new_attempt == attempt then
        if rank < kept_rank or (rank == kept_rank and counter <= kept_counter) then
          return 0
        end
      end
    end
  else
    counter = tonumber(ARGV[9]) or 0
  end

  if token ~= '' then
    if token ~= kept_token then
      tokens = tokens .. token .. ' '
      local _, count = string.gsub(tokens, ' ', '')
      if count > tonumber(ARGV[18]) then
        tokens = string.sub(tokens, string.find(tokens, ' ', 1, true) + 1)
      end
      set('_tokens', tokens)
      set('_token', token)
    end
  elseif new_attempt > attempt and kept_token ~= '' then
    set('_token', '')
  end
  set('state', '"' .. state .. '"')
  set('run', string.format('%d', new_run))
  set('attempt', string.format('%d', new_attempt))
  set('_rank', ARGV[5])
  set('_counter', tostring(counter))
end

if not known then
  set('task_id', cjson.encode(task_id))
end
for i = 20, #ARGV, 2 do
  set(ARGV[i], ARGV[i + 1])
end
-- A word from beside the run may come first and know no owner: the first one that does tells.
if not record._topics or (owner ~= '' and record._owner == '') then
  set('_owner', owner)
  set('_topics', ARGV[12])
end
local version = tonumber(record.version or '0') + 1
set('version', string.format('%d', version))
redis.call('HSET', KEYS[1], unpack(changes))
redis.call('EXPIRE', KEYS[1], ARGV[14])

local function list_of(of_rank)
  if of_rank < 0 or of_rank == TERMINAL then
    return nil
  end
  return prefix .. (of_rank >= STARTED and of_rank <= CUSTOM and 'running' or 'waiting')
end
local before, after = list_of(kept_rank), list_of(tonumber(record._rank))
if before ~= after or state == 'STALLED' then
  if before and before ~= after then
    redis.call('ZREM', before, task_id)
  end
  if after then
    redis.call('ZADD', after, redis.call('TIME')[1], task_id)
  end
end

local parts = {}
for key, initial in string.gmatch(ARGV[19], '([^= ]+)=([^ ]+)') do
  parts[#parts + 1] = '"' .. key .. '":' .. (record[key] or initial)
end
local status = '{' .. table.concat(parts, ',') .. '}'

for topic, group, limit in string.gmatch(record._topics, '([^ ]+) ([^ ]+) ([^ ]+)') do
  local position, log = prefix .. 'position:' .. topic, prefix .. 'log:' .. topic
  local epoch = redis.call('HGET', position, 'epoch')
  if not epoch then
    epoch = ARGV[13]
    redis.call('HSET', position, 'epoch', epoch)
    redis.call('DEL', log, prefix .. 'tasks:' .. topic) -- nothing of an older count may stay
  end
  local offset = redis.call('HINCRBY', position, 'offset', 1)
  local keep = ARGV[14]
  if limit ~= '0' then
    keep = ARGV[15]
    local tasks = prefix .. 'tasks:' .. topic
    if redis.call('ZADD', tasks, 'NX', offset, task_id) == 1 then
      redis.call('ZREMRANGEBYRANK', tasks, 0, -1 - tonumber(limit))
    end
    redis.call('EXPIRE', tasks, keep)
  end
  redis.call('EXPIRE', position, keep)
  redis.call('RPUSH', log, status)
  redis.call('LTRIM', log, -tonumber(ARGV[16]), -1)
  redis.call('EXPIRE', log, ARGV[17])
  redis.call('PUBLISH', group_prefix .. group, cmsgpack.pack({
    type = 'realtime.event', topic = topic, epoch = epoch, offset = offset,
    task_id = task_id, state = string.sub(record.state, 2, -2), status = status,
  }))
end
return version
