-- Accept the next report of a run in a row of them, by the shortest way: most changes are such.
--
-- The record has what the last accepted report kept for the next one (keep_report.lua). It counts only
-- with the version of that report: any other change has raised the version, and goes the general way.
-- A report that names the same run is newer if its number is higher, as in decide.lua. A report that
-- has to renew the expiry of the keys goes the general way too.
--
-- Takes  `this_report`, what the report has in common with the next one
-- Ends the script for such a report; does nothing for any other change
local kept = call('HMGET', KEYS[1], 'version', '_counter', '_owner', '_report',
  '_before', '_middle', '_after', '_renewed')
local had_version = kept[1] or ''
local seconds = tonumber(call('TIME')[1])
local since_renewal = seconds - (tonumber(kept[8]) or 0)
if kept[4] == had_version .. ' ' .. this_report and kept[3] == ARGV[11] and ARGV[12] == ''
  and others == 0 and #ARGV == 20
  and tonumber(ARGV[17]) == AT.progress and tonumber(ARGV[19]) == AT.updated_at
  and since_renewal >= 0 and since_renewal < RENEWAL then
  local counter = tonumber(ARGV[7]) or kept[2] + 1
  if counter <= tonumber(kept[2]) then
    return 0
  end
  had_version = tonumber(had_version)
  local version, owner = had_version + 1, ARGV[11]
  -- Once: to make a text of a number takes as long as a short command.
  local version_text, state_text = string.format('%d', version), '"' .. state .. '"'
  call('HSET', KEYS[1], 'state', state_text, 'version', version_text, 'progress', ARGV[18],
    'updated_at', ARGV[20], '_counter', counter, '_report', version_text .. ' ' .. this_report)
  local status = kept[5] .. state_text .. ',"version":' .. version_text .. kept[6] .. ARGV[18]
    .. kept[7] .. ARGV[20] .. '}'
  local had_life, life, ttl, ttl_changed, renews, lists = true, true, UNFINISHED_TTL, false, false, false
  local owner_key, owner_group = owner ~= '' and 6, ARGV[15]
  -- include topics.lua
end
