-- One topic's share of an event: its head, its log and its group. Not a function, as common.lua
-- says why; whoever includes it has `topic`, `group`, `status`, `hash`, `packed` and `name`, a new
-- epoch for a topic that has none, or, if it is `fresh`, is to count anew; `is_new`
-- where what was counted before cannot be this task's; and `ttl_of_head`.
local head, log = PREFIX .. 'head:' .. topic, PREFIX .. 'log:' .. topic
local epoch, offset, digest = string.match(call('GET', head) or '', '^([^ ]+) (%d+) ?(%d*)$')
if fresh or not epoch or (is_new and offset ~= '0') then
  epoch, offset, digest = name, 0, 0
  call('DEL', log, PREFIX .. 'list:' .. topic) -- nothing of an older count may stay
end
offset = tonumber(offset) + 1
digest = (31 * (tonumber(digest) or 0) + hash) % 2^32 -- as next_digest() of core/position.py
call('SET', head, string.format('%s %d %d', epoch, offset, digest), 'EX', ttl_of_head)
-- Cut now and then: whoever reads takes it for as short as it should be.
if call('RPUSH', log, status) >= MAX_HISTORY_EVENTS + 16 then
  call('LTRIM', log, -MAX_HISTORY_EVENTS, -1)
end
call('EXPIRE', log, HISTORY_TTL)
-- "\135" begins a map of seven pairs in MessagePack: four of them are packed already.
call('PUBLISH', GROUP_PREFIX .. group,
  "\135" .. cmsgpack.pack('topic', topic, 'epoch', epoch, 'offset', offset) .. packed)
