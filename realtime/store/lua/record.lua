-- Keep the task's record: its owner, life, version and fields, how long it is kept, and whether the
-- task waits or runs.
--
-- Takes  what decide.lua gives
-- Gives  `life`, `version`, and `had_version`, which it was; `ttl`, the seconds that the record is
--        kept, and `ttl_changed`; `seconds`, the time of Redis; `renews`, whether the expiry of the
--        keys is renewed; `lists`, whether the task is added to a list that has lost it; `owner`, and
--        `owner_key` and `owner_group`, the first key and the group of the owner's topic; nil for
--        nobody
-- Ends the script with owners whose topics' keys are missing, before anything is changed

-- A publication names the owner; where none is known, the first change that knows an owner.
local owner, moved, changed_hands, claimed = kept_owner or '', false, false, false
if named or not kept_owner or (kept_owner == '' and ARGV[11] ~= '' and not kept_publication) then
  owner = ARGV[11]
  if string.sub(owner, 1, 8) == 'visitor-' then
    moved = call('HGET', KEYS[#KEYS - 1], 'owner')
    owner = moved or owner
  end
  local had = kept_owner and (new_life or kept_owner ~= '')
  changed_hands = (had and kept_owner ~= owner) or (new_life and not kept_owner)
  claimed = kept_owner == '' and owner ~= ''
  set(AT._owner, owner)
end

local first_of_others = ARGV[11] == '' and 6 or 10
local owner_key, owner_group, left_key = nil, nil, nil
local leaves = changed_hands and kept_owner and kept_owner ~= ''
if owner ~= '' and owner == ARGV[11] then
  owner_key, owner_group = 6, ARGV[15]
end
if leaves and kept_owner == ARGV[11] then
  left_key = 6
end
for i = 0, others - 1 do
  local ident, key = ARGV[17 + 2 * i], first_of_others + 4 * i
  if ident == owner then
    owner_key, owner_group = key, ARGV[18 + 2 * i]
  elseif leaves and ident == kept_owner then
    left_key = key
  end
end
if (owner ~= '' and not owner_key) or (leaves and not left_key) then
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
  call('EXPIRE', KEYS[#KEYS - 1], UNFINISHED_TTL)
end
if changed_hands then
  set_rare('_owner_since', string.format('%d.%06d', unpack(call('TIME'))))
  if leaves then
    library().remove_tasks(left_key, {task_id}, name)
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
for i = 18 + 2 * others, #ARGV, 2 do
  local field = ARGV[i - 1]
  local number = tonumber(field)
  if number then
    -- Without a text a key has its first value, see status.lua: most keys of a task that starts.
    local first = (number == AT.truncated or number == AT.cancelling) and 'false' or 'null'
    if record[number] or ARGV[i] ~= first then
      set(number, ARGV[i])
    end
  else
    set_rare(field, ARGV[i])
    local extra = record[AT._extra] or ''
    if string.byte(field) ~= string.byte('_') and not library().has(extra, field) then
      set(AT._extra, extra .. field .. ' ') -- a later release's
    end
  end
end
local had_version = tonumber(record[AT.version] or '0')
local version = had_version + 1
set(AT.version, string.format('%d', version))

if new_life then
  call('DEL', KEYS[1])
end
if new_life or not was_known then
  -- Redis keeps a hash of short values as a listpack, and searches it from the start for each field.
  -- A value above 64 bytes (hash-max-listpack-value) makes it a hash table.
  set_rare('_table', string.rep(' ', 65))
end
local now_rank = tonumber(record[AT._rank])
local over = now_rank == RANK.TERMINAL
if over and had_rank == RANK.CUSTOM then -- no report follows
  for _, field in ipairs({'_report', '_before', '_middle', '_after'}) do
    set_rare(field, '')
  end
end
local time = call('TIME')
local seconds, renewed = tonumber(time[1]), tonumber(record[AT._renewed] or '0')
local renews = renewed > seconds or seconds - renewed >= RENEWAL
if renews then
  set(AT._renewed, time[1])
end
call('HSET', KEYS[1], unpack(changes))
local ttl, ttl_changed = over and RECORD_TTL or UNFINISHED_TTL, over or ended
if renews or ttl_changed then
  call('EXPIRE', KEYS[1], ttl)
end

local lists = renews or ttl_changed or now_rank ~= had_rank

-- The tasks that have not ended, by when they last began to wait or to run, by the clock of Redis.
local function set_of(of_rank, of_worker)
  if of_rank < 0 or of_rank == RANK.TERMINAL then
    return nil
  end
  local received = of_rank == RANK.RECEIVED and of_worker ~= ''
  local runs = received or (of_rank >= RANK.STARTED and of_rank <= RANK.CUSTOM)
  return runs and 2 or 3
end
local was_in, is_in = set_of(had_rank, had_worker), set_of(now_rank, worker)
if not was_known then -- an expired record of this id may have left it in a set
  was_in = is_in == 2 and 3 or 2
  if not is_in then
    call('ZREM', KEYS[3], task_id)
  end
end
-- A task that was received and now runs is given another time, within one second too; and each run.
if was_in ~= is_in or state == 'STALLED' or had_rank == RANK.RECEIVED or new_life or begins then
  if was_in and was_in ~= is_in then
    call('ZREM', KEYS[was_in], task_id)
  end
  if is_in then
    call('ZADD', KEYS[is_in], seconds + time[2] / 1e6, task_id)
  end
end
