-- Keep, beside an accepted report of a run, what report.lua needs for the next one: the status without
-- the keys that a report changes.
--
-- Takes  `record`, as status.lua leaves it; `version`, `this_report`
if not record[AT._extra] then
  call('HSET', KEYS[1], '_report', version .. ' ' .. this_report,
    '_before', string.format(STATUS_BEFORE, unpack(record, 1, AT.name)),
    '_middle', string.format(STATUS_MIDDLE, unpack(record, AT.run, AT.attempt)),
    '_after', string.format(STATUS_AFTER, unpack(record, AT.result, AT.finished_at)))
end
