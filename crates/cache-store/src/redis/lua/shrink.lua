-- KEYS: the index. ARGV[5]: where to go on among the keys, ARGV[6]: how many to look at. Answers where to go on, how many
-- left, and whether there are too many still.
local step = redis.call('HSCAN', space.numbers, ARGV[5], 'COUNT', ARGV[6])
for at = 1, #step[2], 2 do
  if redis.call('EXISTS', space.values .. step[2][at]) == 0 then unlist(step[2][at + 1] .. step[2][at]) end
end
local left = 0
if step[1] == '0' then left = make_room(nil, 0) end
return { step[1], left, redis.call('ZCARD', space.reads) > entries_max() and 1 or 0 }
