-- KEYS: queue, holder. ARGV[1]: how many at most. Answers who has the lease and for how long, how many wait, and the first
-- of them: id and key each.
local answer = { redis.call('GET', KEYS[2]), redis.call('PTTL', KEYS[2]), redis.call('XLEN', KEYS[1]) }
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])) do
  answer[#answer + 1] = entry[1]
  answer[#answer + 1] = entry[2][2]
end
return answer
