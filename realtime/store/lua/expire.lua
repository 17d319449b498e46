-- Take off topics' lists the tasks whose records have expired. A topic that had some goes on in a new
-- epoch, so that whoever watches it reads it again.
--
-- Before this text stand, as locals, what is the same for every call: see scripts.py.
-- ARGV[1]  a new name, for an epoch         ARGV[2…] topics of many tasks
-- Returns  how many tasks were taken off

local call = redis.call
-- include common.lua

local total = 0
for i = 2, #ARGV do
  local _, shown = remove_expired(ARGV[i], 100)
  if shown > 0 then
    take_off(ARGV[i], {''}, ARGV[1])
    total = total + shown
  end
end
return total
