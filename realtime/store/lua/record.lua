-- Keep the task's record: its owner, life, version and fields, how long it is kept, and whether the
-- task waits or runs.
--
-- Takes  what decide.lua gives
-- Gives  `life`, `version`; `ttl`, the seconds that the record is kept; `ttl_changed`; and `at`, the
--        place in ARGV of the owner whose topic has the task, counted from 0; nil for nobody
-- Ends the script with owners whose topics' keys are missing, before anything is changed

-- A publication names the owner; where none is known, the first change that knows an owner.
local owner, moved, changed_hands, claimed = kept_owner or '', false, false, false
if named or not kept_owner or (kept_owner == '' and ARGV[11] ~= '' and not kept_publication) then
  owner = ARGV[11]
  if string.sub(owner, 1, 8) == 'visitor-' then
    moved = call('HGET', KEYS[#KEYS], 'owner')
    owner = moved or owner
  end
  local had = kept_owner and (new_life or kept_owner ~= '')
  changed_hands = (had and kept_owner ~= owner) or (new_life and not kept_owner)
  claimed = kept_owner == '' and owner ~= ''
  set(AT._owner, owner)
end

local at, left_at = nil, nil
local leaves = changed_hands and kept_owner and kept_owner ~= ''
for i = 0, owners - 1 do
  local ident = ARGV[17 + 3 * i]
  if ident == owner then
    at = i
  elseif leaves and ident == kept_owner then
    left_at = i
  end
end
if (owner ~= '' and not at) or (leaves and not left_at) then
  local missing = {}
  if owner ~= '' then
    missing[1] = owner
  end
  if leaves then
    missing[#missing + 1] = kept_owner
  end
  return missing
end

if moved then
  call('EXPIRE', KEYS[#KEYS], UNFINISHED_TTL)
end
if changed_hands then
  set_rare('_owner_since', string.format('%d.%06d', unpack(call('TIME'))))
  if leaves then
    library().take_off(6 + 5 * left_at, {task_id}, name)
  end
elseif new_life and owner_since then
  set_rare('_owner_since', owner_since)
end
-- Another owner begins another life too: subscribers of the topic must be authorised anew.
if changed_hands or claimed or not record[AT._life] then
  set(AT._life, name)
end
local life = record[AT._life]

if not known then
  -- Not as cjson has it, which escapes a slash.
  set(AT.task_id, (string.gsub(cjson.encode(task_id), '\\/', '/')))
end
if named then
  set(AT._publication, publication)
end
for i = 18 + 3 * owners, #ARGV, 2 do
  local field = ARGV[i - 1]
  local number = tonumber(field)
  if number then
    set(number, ARGV[i])
  else
    set_rare(field, ARGV[i])
    local extra = record[AT._extra] or ''
    if string.byte(field) ~= string.byte('_') and not library().has(extra, field) then
      set(AT._extra, extra .. field .. ' ') -- a later release's
    end
  end
end
local version = tonumber(record[AT.version] or '0') + 1
set(AT.version, string.format('%d', version))

if new_life then
  call('DEL', KEYS[1])
end
call('HSET', KEYS[1], unpack(changes))
local now_rank = tonumber(record[AT._rank])
local over = now_rank == RANK.TERMINAL
local ttl, ttl_changed = over and RECORD_TTL or UNFINISHED_TTL, over or ended
call('EXPIRE', KEYS[1], ttl)

-- The tasks that have not ended, by when they last began to wait or to run, by the clock of Redis.
local function set_of(of_rank, of_worker)
  if of_rank < 0 or of_rank == RANK.TERMINAL then
    return nil
  end
  local received = of_rank == RANK.RECEIVED and of_worker ~= ''
  local runs = received or (of_rank >= RANK.STARTED and of_rank <= RANK.CUSTOM)
  return runs and 2 or 3
end
local was_in, is_in = set_of(before_rank, before_worker), set_of(now_rank, worker)
if not was_known then -- an expired record of this id may have left it in a set
  was_in = is_in == 2 and 3 or 2
  if not is_in then
    call('ZREM', KEYS[3], task_id)
  end
end
-- A task that was received and now runs is given another time, within one second too.
if was_in ~= is_in or state == 'STALLED' or before_rank == RANK.RECEIVED or new_life then
  if was_in and was_in ~= is_in then
    call('ZREM', KEYS[was_in], task_id)
  end
  if is_in then
    local time = call('TIME')
    call('ZADD', KEYS[is_in], time[1] + time[2] / 1e6, task_id)
  end
end
