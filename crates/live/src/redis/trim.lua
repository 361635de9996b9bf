-- One bounded step of forgetting what a distinct saw before a time.
--
-- KEYS: keys' latest. ARGV: prefix of members, the time in ms, cursor, members at most.
-- Answers the cursor of the next step (0 after the last one), whether this one has to be done again first (1 or 0), and
-- the greatest number of members that a key had.

local KEYS_AT_ONCE = 200

local call = redis.call
local prefix, time_ms, cursor, left = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local page = call('ZSCAN', KEYS[1], cursor, 'COUNT', KEYS_AT_ONCE)
local latest = page[2]
local most = call('ZCARD', KEYS[1])
for i = 1, #latest, 2 do
  local members = prefix .. latest[i]
  most = math.max(most, call('ZCARD', members))
  local old = call('ZCOUNT', members, '-inf', '(' .. time_ms)
  if old > 0 then
    call('ZREMRANGEBYRANK', members, 0, math.min(old, left) - 1)
    left = left - old
    if left <= 0 then return {cursor, 1, most} end
  end
  if tonumber(latest[i + 1]) < tonumber(time_ms) then call('ZREM', KEYS[1], latest[i]) end
end
return {page[1], 0, most}
