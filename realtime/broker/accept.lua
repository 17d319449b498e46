-- Accept one change of one task: compare, version + 1, keep, log, publish. Atomic.
--
-- The rule is that of core/acceptance.py; tests/cases/acceptance.json holds both to it.
-- Arguments are text here: every number is converted before it is compared.
--
-- Before this text stand, as locals, what is the same for every call: see redis.py.
-- KEYS[1]  the task's record, a hash: the status's keys as JSON text, and "_…" for the rule
-- ARGV[1]  task id                          ARGV[2]  state, "" for a word that changes none
-- ARGV[3]  rank of the state                ARGV[4]  attempt, "" for the current one
-- ARGV[5]  run token, or ""                 ARGV[6]  "1" if nothing of this run was accepted yet
-- ARGV[7]  counter, "" for the next one     ARGV[8]  "1" if found in the result backend
-- ARGV[9]  owner, or ""                     ARGV[10] topics: "topic group one|many …", by whether
--                                                    it is about one task or keeps a list of many
-- ARGV[11] epoch for a topic that has none
-- ARGV[12…] key, text, …
-- Keeps, besides, who is "running" and "waiting": sorted by when they last began to be so, by the
-- clock of Redis alone.
-- Returns  the new version; 0 if the change is stale

local task_id, state, token, owner = ARGV[1], ARGV[2], ARGV[5], ARGV[9]
local rank = tonumber(ARGV[3])
local TERMINAL, STARTED, CUSTOM = 9, 2, 3

-- What is kept: by place, as a table by name costs twice as much as reading it.
local record = redis.call('HMGET', KEYS[1], unpack(KEPT))
local known = record[AT.state]

-- What is kept of the last change, and of this one.
local run, attempt = tonumber(record[AT.run] or '1'), tonumber(record[AT.attempt] or '0')
local kept_rank = tonumber(record[AT._rank] or '-1')
local kept_counter = tonumber(record[AT._counter] or '0')
local kept_token, tokens = record[AT._token] or '', record[AT._tokens] or ''
local stalled = record[AT.state] == '"STALLED"'
local changes = {}
local function set(key, text)
  local at = AT[key]
  if at then
    if record[at] == text then
      return
    end
    record[at] = text
  end
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
  local new_run, new_attempt = run, tonumber(ARGV[4]) or attempt
  local counter = 0
  if known then
    if record[AT.state] == '"SUCCESS"' or new_attempt < attempt then
      return 0
    end
    local ended = kept_rank == TERMINAL
    if token ~= '' and token ~= kept_token then
      -- Where none has begun, this store may have gone back to before this one did.
      local begun = kept_token ~= '' or ended
      if (begun and ARGV[6] ~= '1') or string.find(tokens, token .. ' ', 1, true) then
        return 0
      end
      if new_attempt == attempt and begun then
        new_run = run + 1
      end
    end
    if rank == CUSTOM then
      counter = tonumber(ARGV[7]) or (kept_rank == CUSTOM and kept_counter + 1 or 1)
    end
    local overruled = ARGV[8] == '1' and state == 'SUCCESS' and ended
    if not overruled and new_run == run then
      if new_attempt == attempt then
        if rank < kept_rank or (rank == kept_rank and counter <= kept_counter) then
          return 0
        end
      end
    end
  else
    counter = tonumber(ARGV[7]) or 0
  end

  if token ~= '' then
    if token ~= kept_token then
      tokens = tokens .. token .. ' '
      local _, count = string.gsub(tokens, ' ', '')
      if count > TOKENS_KEPT then
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
  set('_rank', ARGV[3])
  set('_counter', tostring(counter))
end

if not known then
  set('task_id', cjson.encode(task_id))
end
for i = 12, #ARGV, 2 do
  set(ARGV[i], ARGV[i + 1])
end
-- A word from beside the run may come first and know no owner: the first one that does tells.
if not record[AT._topics] or (owner ~= '' and record[AT._owner] == '') then
  set('_owner', owner)
  set('_topics', ARGV[10])
end
local version = tonumber(record[AT.version] or '0') + 1
set('version', string.format('%d', version))
redis.call('HSET', KEYS[1], unpack(changes))
local ttl = tonumber(record[AT._rank]) == TERMINAL and RECORD_TTL or UNFINISHED_TTL
redis.call('EXPIRE', KEYS[1], ttl)

local function list_of(of_rank)
  if of_rank < 0 or of_rank == TERMINAL then
    return nil
  end
  return PREFIX .. (of_rank >= STARTED and of_rank <= CUSTOM and 'running' or 'waiting')
end
local before, after = list_of(kept_rank), list_of(tonumber(record[AT._rank]))
if before ~= after or state == 'STALLED' then
  if before and before ~= after then
    redis.call('ZREM', before, task_id)
  end
  if after then
    redis.call('ZADD', after, redis.call('TIME')[1], task_id)
  end
end

for i = 1, #INITIAL do
  record[i] = record[i] or INITIAL[i]
end
local status = string.format(STATUS, unpack(record, 1, #INITIAL))

-- A map of MessagePack is its size and its pairs: what the topics' messages share is packed once.
local MAP_OF_SEVEN = string.char(0x87)
local event = cmsgpack.pack('type', 'realtime.event', 'task_id', task_id,
  'state', string.sub(record[AT.state], 2, -2), 'status', status)
local digest = tonumber(string.sub(redis.sha1hex(status), 1, 8), 16)
for topic, group, number in string.gmatch(record[AT._topics], '([^ ]+) ([^ ]+) ([^ ]+)') do
  local position, log = PREFIX .. 'place:' .. topic, PREFIX .. 'log:' .. topic
  local many, tasks = number == 'many', PREFIX .. 'tasks:' .. topic
  local kept = redis.call('GET', position) or ''
  local epoch, offset, mark = string.match(kept, '^([^ ]+) (%d+) ?(%d*)$')
  if not epoch then
    epoch, offset = ARGV[11], 0
    redis.call('DEL', log, tasks) -- nothing of an older count may stay
  end
  offset = tonumber(offset) + 1
  mark = (31 * (tonumber(mark) or 0) + digest) % 2^32 -- as next_mark() of core/position.py
  local place = string.format('%s %d %d', epoch, offset, mark)
  redis.call('SET', position, place, 'EX', many and UNFINISHED_TTL or ttl)
  if many then
    if redis.call('ZADD', tasks, 'NX', offset, task_id) == 1 then
      redis.call('ZREMRANGEBYRANK', tasks, 0, -1 - SNAPSHOT_SIZE)
      redis.call('EXPIRE', tasks, UNFINISHED_TTL)
    end
  end
  -- Cut now and then: whoever reads takes it for as short as it should be.
  if redis.call('RPUSH', log, status) >= HISTORY_SIZE + 16 then
    redis.call('LTRIM', log, -HISTORY_SIZE, -1)
  end
  redis.call('EXPIRE', log, HISTORY_TTL)
  redis.call('PUBLISH', GROUP_PREFIX .. group,
    MAP_OF_SEVEN .. cmsgpack.pack('topic', topic, 'epoch', epoch, 'offset', offset) .. event)
end
return version
