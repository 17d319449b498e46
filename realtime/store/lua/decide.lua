-- Decide whether a change is newer than what the record has. core/decide.py has the same rule, and
-- tests/cases/acceptance.json tests both. This part changes nothing; it reads fields that few
-- changes need, only then.
--
-- Takes  the arguments of accept.lua
-- Gives  `record`, the fields that every change needs, by number, as they are to be; `set` and
--        `set_rare`, to change more of them; `changes`, what is new, for HSET; `had_…`, what was
--        before; `new_life`: whether another publication begins a life of the record; `named`: whether
--        the change is the first to name its publication; `worker`, the lease
-- Ends the script with 0 for a stale change

local begins, counter, given_attempt = ARGV[6] == '1', tonumber(ARGV[7]), tonumber(ARGV[4])
-- By number: a table by name costs twice as much as reading it.
local record = call('HMGET', KEYS[1], unpack(KEPT))
local known, kept_publication = record[AT.state], record[AT._publication]
local run, attempt = tonumber(record[AT.run] or '1'), tonumber(record[AT.attempt] or '0')
local kept_rank = tonumber(record[AT._rank] or '-1')
local kept_counter = tonumber(record[AT._counter] or '0')
local kept_run_id, kept_owner = record[AT._run_id] or '', record[AT._owner]
local stalled, ended = known == '"STALLED"', kept_rank == RANK.TERMINAL
local kept_worker = (stalled or kept_rank == RANK.RECEIVED) and record[AT._worker] or ''
local had_rank, had_worker, was_known, had_life = kept_rank, kept_worker, known, record[AT._life]

local changes = {}
local function set(number, text)
  if record[number] ~= text then
    record[number] = text
    changes[#changes + 1] = KEPT[number]
    changes[#changes + 1] = text
  end
end
-- The same for a field that is not read with every change.
local function set_rare(field, text)
  changes[#changes + 1] = field
  changes[#changes + 1] = text
end

-- Another publication of the same id begins a new life once the last one has ended, or as its run
-- starts; the record begins anew.
local named = publication ~= '' and publication ~= (kept_publication or '')
local new_life, run_ids, senders, owner_since = false, nil, nil, nil
if named and (known or kept_publication) then
  local older, lives
  older, senders, lives, owner_since, run_ids = unpack(call('HMGET', KEYS[1],
    '_publications', '_senders', '_lives', '_owner_since', '_run_ids'))
  older = older or ''
  local lib = library()
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
    new_life = true
    had_life = had_life or '' -- of a forgotten task, whose topic may have been read since
    local version = record[AT.version]
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
    for field, text in pairs({_publications = older, _run_ids = run_ids, _senders = senders}) do
      if text and text ~= '' then
        set_rare(field, text)
      end
    end
    set(AT._run_id, '')
    set_rare('_lives', string.format('%d', (tonumber(lives or '0')) + 1))
  end
elseif not known and kept_publication then
  return 0 -- the task was forgotten, and its publication still sends
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
  -- The worker answers again.
  set(AT.state, kept_rank >= RANK.STARTED and '"STARTED"' or '"RECEIVED"')
elseif stalled and state == 'RECEIVED' and run_id == ''
  and (given_attempt or attempt) == attempt and (ARGV[12] == kept_worker or ARGV[12] ~= '') then
  if ARGV[12] == kept_worker then
    set(AT.state, kept_rank >= RANK.STARTED and '"STARTED"' or '"RECEIVED"')
  else -- delivered again, to another worker: its run begins a new one
    set(AT.state, '"RECEIVED"')
    worker = ARGV[12]
    set(AT._worker, worker)
  end
elseif rank == RANK.CUSTOM and run_id == '' then
  -- Another process reports on the run: laid over it, in an order of its own.
  if (given_attempt or attempt) < attempt or kept_rank > RANK.CUSTOM then
    return 0
  end
  local kept = senders or (known and call('HGET', KEYS[1], '_senders')) or ''
  local now_kept = library().numbered(kept, ARGV[10], ARGV[7], not new_life)
  if not now_kept then
    return 0
  elseif now_kept ~= kept then
    set_rare('_senders', now_kept)
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
  local new_run, new_attempt = run, given_attempt or attempt
  local starts = run_id ~= '' and run_id ~= kept_run_id
  if starts then
    -- Without an earlier run there are no earlier ids.
    run_ids = run_ids or (record[AT._run_id] and call('HGET', KEYS[1], '_run_ids')) or ''
  end
  if known then
    if new_attempt < attempt then
      return 0
    end
    if starts then
      -- Where no run began, this store may have gone back to before this one did.
      local begun = kept_run_id ~= '' or ended
      if (begun and not begins) or (run_ids ~= '' and library().has(run_ids, run_id)) then
        return 0
      end
      if new_attempt == attempt and begun then
        new_run = run + 1
      end
    end
    if rank == RANK.CUSTOM then
      counter = counter or (kept_rank == RANK.CUSTOM and kept_counter + 1 or 1)
    else
      counter = 0
    end
    local overruled = ARGV[8] == '1' and state == 'SUCCESS' and ended
    if not overruled and new_run == run and new_attempt == attempt
      and (rank < kept_rank or (rank == kept_rank and counter <= kept_counter)) then
      return 0
    end
  end

  if starts then
    set_rare('_run_ids',
      run_ids == '' and run_id .. ' ' or library().added(run_ids, run_id, RUN_IDS_KEPT))
    set(AT._run_id, run_id)
  elseif run_id == '' and new_attempt > attempt and kept_run_id ~= '' then
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
  set(AT._counter, tostring(counter or 0))
  if ARGV[12] ~= '' or (state == 'RECEIVED' and known) then
    worker = ARGV[12]
    set(AT._worker, worker)
  end
end
