-- Accept one change of one task, in one step: decide, keep the record, apply to each topic.
--
-- Arguments are text: every number is converted before it is compared. Lines in capitals are
-- constants; see scripts.py.
--
-- KEYS[1]  the task's record: a hash of the status's keys as JSON text, and "_…" for the rules
-- KEYS[2]  the running tasks                KEYS[3]  the waiting tasks
-- KEYS[4]  the head of the task's topic     KEYS[5]  its log
-- KEYS[6…] of each owner in ARGV, four keys of the owner's topic: see lists.lua
-- KEYS[#KEYS - 1]  if ARGV[11] is a visitor: to whom the visitor's tasks were moved
-- KEYS[#KEYS]  the recent heads
-- ARGV[1]  task id                          ARGV[2]  state, "" for a change that has none
-- ARGV[3]  rank of the state                ARGV[4]  attempt, "" for the current one
-- ARGV[5]  run id, or ""                    ARGV[6]  "1" if nothing of this run was accepted yet
-- ARGV[7]  counter, "" for the next one     ARGV[8]  "1" if found in the result backend
-- ARGV[9]  publication, or ""               ARGV[10] sender, or ""
-- ARGV[11] owner, or ""                     ARGV[12] the worker's lease, or ""
-- ARGV[13] a random name, for a new life or epoch
-- ARGV[14] the group of the task's topic     ARGV[15] the group of the owner's topic, or ""
-- ARGV[16] how many other owners follow: of each the ident, and the group of the topic
-- ARGV[…]  the number or name of a key of the record, its text, …
-- Returns  the new version; 0 for a stale change; or {owner, …}: nothing was changed, and the call
--          is to be repeated with the keys of these owners' topics as well

local call = redis.call
local task_id, state, run_id, publication = ARGV[1], ARGV[2], ARGV[5], ARGV[9]
local rank, name, others = tonumber(ARGV[3]), ARGV[13], tonumber(ARGV[16])

local record_key, recent = 1, nil

-- Functions cost as much as a short command each time that the script makes them: only when needed.
local function library()
  -- include texts.lua
  -- include lists.lua
  return {has = has, added = added, numbered = numbered, remove_tasks = remove_tasks, listed = listed}
end

-- A run's report on itself: what it has in common with the next one.
local this_report = rank == RANK.CUSTOM and run_id ~= '' and state ~= '' and state ~= 'STALLED'
  and ARGV[4] .. ' ' .. run_id .. ' ' .. publication
if this_report then
  -- include report.lua
end

-- include decide.lua
-- include record.lua
-- include status.lua
if this_report then
  -- include keep_report.lua
end
local state_text = record[AT.state]
-- include topics.lua
