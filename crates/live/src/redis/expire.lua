-- One bounded step of forgetting buckets that have expired.
--
-- KEYS: names. ARGV: prefix of keys, now in ms, names at most.
-- Answers how many were forgotten.

local names = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for _, name in ipairs(names) do
  redis.call('UNLINK', ARGV[1] .. name)
  redis.call('ZREM', KEYS[1], name)
end
return #names
