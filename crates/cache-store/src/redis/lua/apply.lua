-- KEYS: queue, outcomes, holder, then the value and what is beside it of each entry. ARGV[5]: who asks, ARGV[6]: how long
-- the lease is to hold, ARGV[7], ARGV[8]: how many outcomes are kept, for how long; then the ids, in order.
-- Answers how many were applied and how many wait; nothing where another has the lease.
local holder = redis.call('GET', KEYS[3])
if holder and holder ~= ARGV[5] then return false end
-- Where memory is used up this fails, and nothing was done.
redis.call('SET', KEYS[3], ARGV[5], 'PX', ARGV[6])
local count = 0
local entries = #ARGV > 8 and redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', #ARGV - 8) or {}
for at, entry in ipairs(entries) do
  -- Another holder was here in between.
  if entry[1] ~= ARGV[8 + at] then break end
  local fields = entry[2]
  local outcome = change(KEYS[2 + 2 * at], KEYS[3 + 2 * at], fields[4], fields[6], fields[8], fields[10], fields[12])
  if outcome.err then return outcome end
  redis.call('XDEL', KEYS[1], entry[1])
  -- It fails where the queue was lost and begins before what it once ended: the write is done all the same.
  redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], entry[1], 'o', table.concat(outcome, '|'))
  count = count + 1
end
if count > 0 then redis.call('PEXPIRE', KEYS[2], ARGV[8]) end
return { count, redis.call('XLEN', KEYS[1]) }
