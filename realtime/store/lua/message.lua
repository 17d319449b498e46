-- Begin the messages about a status: what they share, in MessagePack, up to the status itself. A map is
-- its size and its pairs; a text is "\219", its length in four bytes, and its bytes. Not by cmsgpack,
-- which copies a long text several times.
--
-- Takes  `task_id`, `state_text`, the JSON of the state, and `status`
-- Gives  `packed`: four of a map's pairs; the status follows as it is. `hash`, a number made of the
--        status
local state_name = string.sub(state_text, 2, -2)
local packed = "\164type\174realtime.event\167task_id" .. struct.pack('>BI4', 219, #task_id)
  .. task_id .. "\165state" .. struct.pack('>BI4', 219, #state_name) .. state_name
  .. "\166status" .. struct.pack('>BI4', 219, #status)
local hash = tonumber(string.sub(redis.sha1hex(status), 1, 8), 16)
