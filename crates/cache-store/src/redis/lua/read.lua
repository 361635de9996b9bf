-- KEYS: values, then the index. Answers the value and its PTTL of each.
local answer = {}
for at = 1, #KEYS - 4 do
  local value = redis.call('GET', KEYS[at])
  answer[#answer + 1] = value
  answer[#answer + 1] = value and redis.call('PTTL', KEYS[at]) or -2
  note_read(KEYS[at], value and fresh_for(KEYS[at]))
end
return answer
