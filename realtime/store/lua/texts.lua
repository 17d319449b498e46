-- Lists of names in one text, each followed by a space; the newest `most` are kept.
local function has(list, each)
  return string.find(' ' .. list, ' ' .. each .. ' ', 1, true)
end
local function added(list, each, most)
  list = list .. each .. ' '
  local _, count = string.gsub(list, ' ', '')
  return count > most and string.sub(list, string.find(list, ' ', 1, true) + 1) or list
end

-- Return "sender number sender number …", the newest last, with one more; nil for a number that is
-- not higher than the sender's last, if that is `checked`.
local function numbered(senders, sender, number, checked)
  if sender == '' or number == '' then
    return senders
  end
  local kept = {}
  for each, last in string.gmatch(senders, '([^ ]+) ([^ ]+) ') do
    if each ~= sender then
      kept[#kept + 1] = each .. ' ' .. last .. ' '
    elseif checked and tonumber(number) <= tonumber(last) then
      return nil
    end
  end
  kept[#kept + 1] = sender .. ' ' .. number .. ' '
  return table.concat(kept, '', math.max(1, #kept - SENDERS_KEPT + 1))
end
