-- Apply a status to the topics of its task, and end the script with its version.
--
-- Takes  what apply.lua takes, but for what names a topic; `owner`, `owner_key`, `owner_group`
-- include message.lua
local k, topic, group, many, head_ttl = 4, 'task:' .. task_id, ARGV[14], false, ttl
for number = 1, owner_key and 2 or 1 do
  if number == 2 then
    k, topic, group, many, head_ttl = owner_key, 'user:' .. owner, owner_group, true, UNFINISHED_TTL
  end
  -- include apply.lua
end
-- include recent.lua
return version
