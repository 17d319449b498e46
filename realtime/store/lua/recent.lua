-- Append the heads that this call has set to the recent heads, which is the last key of every script
-- that sets heads: hubs find the topics that have changed there.
--
-- The list begins with its epoch and the number of elements that it had before and has no longer. It is
-- cut now and then, and expires at some time if it is not cut: a hub without its place in it compares
-- all heads.
--
-- Takes  `recent`, of each head its text, a space, and its key, and a line break between two; nil if
--        there is none. `name`, for a new epoch
if recent then
  local length = call('RPUSH', KEYS[#KEYS], recent)
  if length == 1 or length > MAX_RECENT then
    local epoch, before, kept = name, 0, {recent}
    if length > 1 then
      local header = call('LRANGE', KEYS[#KEYS], 0, 0)[1]
      epoch, before = string.match(header, '^([^ ]+) (%d+)$')
      if not epoch then -- somebody else has written to the list
        epoch, before = name, 0
      else
        before, kept = before + length - 1 - KEPT_RECENT, call('LRANGE', KEYS[#KEYS], -KEPT_RECENT, -1)
      end
    end
    call('DEL', KEYS[#KEYS])
    call('RPUSH', KEYS[#KEYS], string.format('%s %d', epoch, before), unpack(kept))
    call('EXPIRE', KEYS[#KEYS], UNFINISHED_TTL)
  end
end
