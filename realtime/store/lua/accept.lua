-- Accept one change of one task: compare, version + 1, keep, log, publish. Atomic.
--
-- The rule is that of core/change.py; tests/cases/acceptance.json holds both to it.
-- Arguments are text here: every number is converted before it is compared.
--
-- Before this text stand, as locals, what is the same for every call: see scripts.py.
-- KEYS[1]  the task's record, a hash: the status's keys as JSON text, and "_…" for the rule
-- ARGV[1]  task id                          ARGV[2]  state, "" for a change that has none
-- ARGV[3]  rank of the state                ARGV[4]  attempt, "" for the current one
-- ARGV[5]  run id, or ""                 ARGV[6]  "1" if nothing of this run was accepted yet
-- ARGV[7]  counter, "" for the next one     ARGV[8]  "1" if found in the result backend
-- ARGV[9]  publication, or ""               ARGV[10] sender, or ""
-- ARGV[11] owner, or ""                     ARGV[12] the group of the task's topic
-- ARGV[13] the group of the owner's topic   ARGV[14] a new name, for an epoch
-- ARGV[15] the worker's lease, or ""        ARGV[16…] number or key, text, …
-- Keeps, besides, who is "running" and "waiting": sorted by when they last began to be so, by the
-- clock of Redis alone.
-- Returns  the new version; 0 if the change is stale

local task_id, state, run_id, publication = ARGV[1], ARGV[2], ARGV[5], ARGV[9]
local rank, name, call = tonumber(ARGV[3]), ARGV[14], redis.call

-- What is kept: by number, as a table by name costs twice as much as reading it.
local record = call('HMGET', KEYS[1], unpack(KEPT))
local known, kept_publication = record[AT.state], record[AT._publication]

-- What is kept of the last change, and of this one.
local run, attempt = tonumber(record[AT.run] or '1'), tonumber(record[AT.attempt] or '0')
local kept_rank = tonumber(record[AT._rank] or '-1')
local kept_counter = tonumber(record[AT._counter] or '0')
local kept_run_id, kept_owner = record[AT._run_id] or '', record[AT._owner]
local stalled, kept_worker = known == '"STALLED"', ''
if stalled or kept_rank == RANK.RECEIVED then
  kept_worker = call('HGET', KEYS[1], '_worker') or ''
end
local changes = {}
local function set(number, text)
  if record[number] ~= text then
    record[number] = text
    changes[#changes + 1] = KEPT[number]
    changes[#changes + 1] = text
  end
end
-- The same for what is not read with every change.
local function set_more(key, text)
  changes[#changes + 1] = key
  changes[#changes + 1] = text
end
local function rarely()
  -- include common.lua
  return {now = now, with_extra = with_extra, take_off = take_off, listed = listed, has = has,
    added = added, numbered = numbered}
end

local function list_of(of_rank, worker)
  if of_rank < 0 or of_rank == RANK.TERMINAL then
    return nil
  end
  local held = of_rank == RANK.RECEIVED and worker ~= ''
  local runs = held or (of_rank >= RANK.STARTED and of_rank <= RANK.CUSTOM)
  return PREFIX .. (runs and 'running' or 'waiting')
end
local before, ended = list_of(kept_rank, kept_worker), kept_rank == RANK.TERMINAL
local was_held, is_new = kept_rank == RANK.RECEIVED, not known

-- Another publication of the same id begins a new life once the last one has ended, or as its run
-- starts; the record begins anew.
local named = publication ~= '' and publication ~= (kept_publication or '')
local fresh, run_ids, senders, since = false, nil, nil, nil
if named and (known or kept_publication) then
  local begins = ARGV[6] == '1'
  local older, lives
  older, senders, lives, since, run_ids = unpack(call('HMGET', KEYS[1],
    '_publications', '_senders', '_lives', '_owner_since', '_run_ids'))
  older = older or ''
  local lib = rarely()
  if lib.has(older, publication) then
    return 0
  end
  local repeats = known == '"SUCCESS"' and begins and rank ~= RANK.TERMINAL
  if kept_publication or not known or repeats then
    local over = not known or ended
    if state == '' or state == 'STALLED' or not (over or begins)
      or (run_id ~= '' and lib.has(run_ids or '', run_id)) then
      return 0
    end
    fresh = true
    local version = record[AT.version]
    call('DEL', KEYS[1])
    for i = 1, #KEPT do
      record[i] = false
    end
    record[AT.version] = version -- it keeps rising
    run = known and run + 1 or 1
    attempt, kept_rank, kept_counter, kept_run_id, kept_worker = 0, -1, 0, '', ''
    known, stalled, ended = false, false, false
    if kept_publication and kept_publication ~= '' then
      older = lib.added(older, kept_publication, PUBLICATIONS_KEPT)
    end
    for key, text in pairs({_publications = older, _run_ids = run_ids, _senders = senders}) do
      if text and text ~= '' then
        set_more(key, text)
      end
    end
    set(AT._run_id, '')
    set_more('_lives', string.format('%d', (tonumber(lives or '0')) + 1))
  end
elseif not known and kept_publication then
  return 0 -- it was forgotten, and this is what its publication still sends
end

local worker = kept_worker
if state == '' then
  if not known or ended then
    return 0
  end
elseif known == '"SUCCESS"' then
  return 0
elseif state == 'STALLED' then
  if stalled or kept_rank < RANK.RECEIVED or kept_rank > RANK.CUSTOM or run_id ~= kept_run_id then
    return 0
  end
  set(AT.state, '"STALLED"')
elseif stalled and state == 'STARTED' and run_id == kept_run_id then
  set(AT.state, kept_rank >= RANK.STARTED and '"STARTED"' or '"RECEIVED"') -- its worker answers again
elseif stalled and state == 'RECEIVED' and (tonumber(ARGV[4]) or attempt) == attempt
  and (ARGV[15] == kept_worker or ARGV[15] ~= '') then
  if ARGV[15] == kept_worker then
    set(AT.state, kept_rank >= RANK.STARTED and '"STARTED"' or '"RECEIVED"')
  else -- delivered again, to another worker: its run begins a new one
    set(AT.state, '"RECEIVED"')
    worker = ARGV[15]
    set_more('_worker', worker)
  end
elseif rank == RANK.CUSTOM and run_id == '' then
  -- Another process reports on the run: laid over it, in an order of its own.
  if (tonumber(ARGV[4]) or attempt) < attempt or kept_rank > RANK.CUSTOM then
    return 0
  end
  local kept = senders or (known and call('HGET', KEYS[1], '_senders')) or ''
  local now_kept = rarely().numbered(kept, ARGV[10], ARGV[7], not fresh)
  if not now_kept then
    return 0
  elseif now_kept ~= kept then
    set_more('_senders', now_kept)
  end
  if not stalled then
    set(AT.state, '"' .. state .. '"')
  end
  if not known then
    set(AT.run, string.format('%d', run))
    set(AT.attempt, '0')
    set(AT._rank, '0')
    set(AT._counter, '0')
  end
else
  local new_run, new_attempt = run, tonumber(ARGV[4]) or attempt
  local counter = 0
  if run_id ~= '' and run_id ~= kept_run_id then
    -- No run began where no run id was ever noted.
    run_ids = run_ids or (record[AT._run_id] and call('HGET', KEYS[1], '_run_ids')) or ''
  end
  if known then
    if new_attempt < attempt then
      return 0
    end
    if run_id ~= '' and run_id ~= kept_run_id then
      -- Where none has begun, this store may have gone back to before this one did.
      local begun = kept_run_id ~= '' or ended
      if (begun and ARGV[6] ~= '1') or (run_ids ~= '' and rarely().has(run_ids, run_id)) then
        return 0
      end
      if new_attempt == attempt and begun then
        new_run = run + 1
      end
    end
    if rank == RANK.CUSTOM then
      counter = tonumber(ARGV[7]) or (kept_rank == RANK.CUSTOM and kept_counter + 1 or 1)
    end
    local overruled = ARGV[8] == '1' and state == 'SUCCESS' and ended
    if not overruled and new_run == run and new_attempt == attempt
      and (rank < kept_rank or (rank == kept_rank and counter <= kept_counter)) then
      return 0
    end
  else
    counter = tonumber(ARGV[7]) or 0
  end

  if run_id ~= '' then
    if run_id ~= kept_run_id then
      set_more('_run_ids', run_ids == '' and run_id .. ' ' or rarely().added(run_ids, run_id, RUN_IDS_KEPT))
      set(AT._run_id, run_id)
    end
  elseif new_attempt > attempt and kept_run_id ~= '' then
    set(AT._run_id, '')
  end
  set(AT.state, '"' .. state .. '"')
  if new_run ~= run or not known then
    set(AT.run, string.format('%d', new_run))
  end
  if new_attempt ~= attempt or not known then
    set(AT.attempt, string.format('%d', new_attempt))
  end
  set(AT._rank, ARGV[3])
  set(AT._counter, tostring(counter))
  if ARGV[15] ~= '' or (state == 'RECEIVED' and known) then
    worker = ARGV[15]
    set_more('_worker', worker)
  end
end

if not known then
  -- Not as cjson has it, which escapes a slash.
  set(AT.task_id, (string.gsub(cjson.encode(task_id), '\\/', '/')))
end
if named then
  set(AT._publication, publication)
end
for i = 17, #ARGV, 2 do
  local key = ARGV[i - 1]
  local number = tonumber(key)
  if number then
    set(number, ARGV[i])
  else
    set_more(key, ARGV[i])
    if string.byte(key) ~= string.byte('_') and not rarely().has(record[AT._extra] or '', key) then
      set(AT._extra, (record[AT._extra] or '') .. key .. ' ') -- a later release's
    end
  end
end

-- Whose it is says its publication; where none is known, the first change that knows an owner.
local changed_hands, claimed = false, false
if named or not kept_owner or (kept_owner == '' and ARGV[11] ~= '' and not kept_publication) then
  local owner, group = ARGV[11], ARGV[13]
  if string.sub(owner, 1, 8) == 'visitor-' then
    local moved = call('HMGET', PREFIX .. 'moved:' .. owner, 'owner', 'group')
    if moved[1] then
      call('EXPIRE', PREFIX .. 'moved:' .. owner, UNFINISHED_TTL)
      owner, group = moved[1], moved[2]
    end
  end
  local had = kept_owner and (fresh or kept_owner ~= '')
  changed_hands = (had and kept_owner ~= owner) or (fresh and not kept_owner)
  claimed = kept_owner == '' and owner ~= ''
  if changed_hands then
    set_more('_owner_since', string.format('%d.%06d', unpack(call('TIME'))))
    if kept_owner and kept_owner ~= '' then
      rarely().take_off('user:' .. kept_owner, {task_id}, name)
    end
  elseif fresh and since then
    set_more('_owner_since', since)
  end
  set(AT._owner, owner)
  set_more('_group', group)
end

local version = tonumber(record[AT.version] or '0') + 1
set(AT.version, string.format('%d', version))
call('HSET', KEYS[1], unpack(changes))
local now_rank = tonumber(record[AT._rank])
local over = now_rank == RANK.TERMINAL
local ttl = over and RECORD_TTL or UNFINISHED_TTL
call('EXPIRE', KEYS[1], ttl)

local after = list_of(now_rank, worker)
if is_new then -- an expired record of this id may have left it on a list
  before = PREFIX .. (after == PREFIX .. 'running' and 'waiting' or 'running')
  if not after then
    call('ZREM', PREFIX .. 'waiting', task_id)
  end
end
-- A task that is no longer only held is given another time, within one second too.
if before ~= after or state == 'STALLED' or was_held or fresh then
  if before and before ~= after then
    call('ZREM', before, task_id)
  end
  if after then
    local time = call('TIME')
    call('ZADD', after, time[1] + time[2] / 1e6, task_id)
  end
end

record[AT.truncated] = record[AT.truncated] or 'false'
record[AT.cancelling] = record[AT.cancelling] or 'false'
for i = 1, FIELDS do
  record[i] = record[i] or 'null'
end
local status = string.format(STATUS, unpack(record, 1, FIELDS))
if record[AT._extra] then
  status = rarely().with_extra(status, record[AT._extra], KEYS[1])
end
-- A map of MessagePack is its size and its pairs: what all topics' messages share is packed once.
local packed = cmsgpack.pack('type', 'realtime.event', 'task_id', task_id,
  'state', string.sub(record[AT.state], 2, -2), 'status', status)
local hash = tonumber(string.sub(redis.sha1hex(status), 1, 8), 16)
local owner = record[AT._owner]
local topic, group, ttl_of_head = 'task:' .. task_id, ARGV[12], ttl
local another = fresh or is_new -- than what the owner's list may have under this id
fresh = fresh or changed_hands or claimed
for number = 1, owner ~= '' and 2 or 1 do
  if number == 2 then
    topic, ttl_of_head, fresh, is_new = 'user:' .. owner, UNFINISHED_TTL, false, false
    group = owner == ARGV[11] and ARGV[13] or call('HGET', KEYS[1], '_group')
  end
  -- include apply.lua
  if number == 2 then
    local tasks = PREFIX .. 'list:' .. topic
    if call('ZADD', tasks, 'NX', offset, task_id) == 1 then
      rarely().listed(topic, task_id, ttl)
    elseif another or over ~= ended then
      if another then
        call('ZADD', tasks, offset, task_id) -- to the top
      end
      call('ZADD', PREFIX .. 'expiry:' .. topic, call('TIME')[1] + ttl, task_id)
    end
  end
end
return version
