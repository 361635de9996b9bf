-- KEYS: values, then the index. Answers how many there were.
local count = 0
for at = 1, #KEYS - 5 do
  count = count + redis.call('UNLINK', KEYS[at])
  local member = member_of(string.sub(KEYS[at], #space.values + 1))
  if member then unlist(member) end
end
return count
