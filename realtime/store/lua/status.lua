-- Compose the JSON text of a status. core/status.py does the same.
--
-- Takes  `record`, fields by number; `record_key`, the number of its key
-- Gives  `status`
record[AT.truncated] = record[AT.truncated] or 'false'
record[AT.cancelling] = record[AT.cancelling] or 'false'
for i = 1, FIELDS do
  record[i] = record[i] or 'null'
end
local status = string.format(STATUS, unpack(record, 1, FIELDS))
if record[AT._extra] then
  for field in string.gmatch(record[AT._extra], '[^ ]+') do
    local value = call('HGET', KEYS[record_key], field) or 'null'
    status = string.sub(status, 1, -2) .. ',"' .. field .. '":' .. value .. '}'
  end
end
