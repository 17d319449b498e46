-- Reads one status; common.lua goes before it.

-- Return the text of the status that a record holds, and whose it is; nil where there is none.
local function status_of(record)
  local texts = call('HMGET', record, unpack(READ))
  if not texts[1] then -- no task_id: it has expired, or the task was forgotten
    return nil
  end
  texts[AT.truncated] = texts[AT.truncated] or 'false'
  texts[AT.cancelling] = texts[AT.cancelling] or 'false'
  for i = 1, FIELDS do
    texts[i] = texts[i] or 'null'
  end
  local text = string.format(STATUS, unpack(texts, 1, FIELDS))
  local extra = texts[FIELDS + 1]
  return extra and with_extra(text, extra, record) or text, texts[FIELDS + 2]
end
