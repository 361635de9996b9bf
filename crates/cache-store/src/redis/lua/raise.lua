-- KEYS: the index. ARGV[5] on: keys and how many reads each had.
for at = 5, #ARGV, 2 do
  local member = member_of(ARGV[at])
  if member then
    if redis.call('EXISTS', space.values .. ARGV[at]) == 1 then
      redis.call('ZINCRBY', space.reads, ARGV[at + 1], member)
    else
      unlist(member)
    end
  end
end
return 1
