-- KEYS: queue. ARGV[1]: how many may wait; then six of each write. Answers how many wait where they are too many, or ids.
local waiting = redis.call('XLEN', KEYS[1])
if waiting + (#ARGV - 1) / 6 > tonumber(ARGV[1]) then return waiting end
local ids = {}
for at = 2, #ARGV, 6 do
  ids[#ids + 1] = redis.call('XADD', KEYS[1], '*', 'k', ARGV[at], 'o', ARGV[at + 1], '1', ARGV[at + 2], '2', ARGV[at + 3],
    '3', ARGV[at + 4], '4', ARGV[at + 5])
end
return ids
