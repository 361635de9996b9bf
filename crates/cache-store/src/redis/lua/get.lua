-- KEYS: the value, beside it. ARGV[5], ARGV[6]: the token of a lease that is asked for and for how long, or nothing.
-- Answers: the value, its PTTL, whether the lease is given, why it is denied, for how long still.
local value, is_other = value_of(KEYS[1])
local left = value and redis.call('PTTL', KEYS[1]) or -2
local ttl = value and fresh_for(KEYS[1])
if space.max then note_read(KEYS[1], ttl, is_other) end
if ttl then return { value, left, 0, false, 0 } end
local beside = redis.call('GET', KEYS[2])
-- Who asks again with the same token did not hear the answer.
local is_own = beside and ARGV[5] and beside == 'l' .. ARGV[5]
if beside and not is_own then
  if not value and string.sub(beside, 1, 1) == 'n' then
    return { false, left, 0, string.sub(beside, 2), redis.call('PTTL', KEYS[2]) }
  end
  return { value, left, 0, false, 0 }
end
if not ARGV[5] then return { value, left, 0, false, 0 } end
if value then
  -- What is stale is read even where no lease can be noted.
  local given = redis.pcall('SET', KEYS[2], 'l' .. ARGV[5], 'PX', ARGV[6])
  return { value, left, given.err and 0 or 1, false, 0 }
end
redis.call('SET', KEYS[2], 'l' .. ARGV[5], 'PX', ARGV[6])
return { false, left, 1, false, 0 }
