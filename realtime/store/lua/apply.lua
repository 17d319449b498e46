-- One topic's share of an event: its place, its log and its group. Not a function, as common.lua
-- says why; whoever includes it has `topic`, `group`, `status`, `digest`, `packed` and `name`, a new
-- epoch for a topic that has none, or, if it is `fresh`, is to count anew; `is_new`
-- where what was counted before cannot be this task's; and `ttl_of_place`.
local place, log = PREFIX .. 'place:' .. topic, PREFIX .. 'log:' .. topic
local epoch, offset, mark = string.match(call('GET', place) or '', '^([^ ]+) (%d+) ?(%d*)$')
if fresh or not epoch or (is_new and offset ~= '0') then
  epoch, offset, mark = name, 0, 0
  call('DEL', log, PREFIX .. 'tasks:' .. topic) -- nothing of an older count may stay
end
offset = tonumber(offset) + 1
mark = (31 * (tonumber(mark) or 0) + digest) % 2^32 -- as next_mark() of core/position.py
call('SET', place, string.format('%s %d %d', epoch, offset, mark), 'EX', ttl_of_place)
-- Cut now and then: whoever reads takes it for as short as it should be.
if call('RPUSH', log, status) >= MAX_HISTORY_EVENTS + 16 then
  call('LTRIM', log, -MAX_HISTORY_EVENTS, -1)
end
call('EXPIRE', log, HISTORY_TTL)
-- "\135" begins a map of seven pairs in MessagePack: four of them are packed already.
call('PUBLISH', GROUP_PREFIX .. group,
  "\135" .. cmsgpack.pack('topic', topic, 'epoch', epoch, 'offset', offset) .. packed)
