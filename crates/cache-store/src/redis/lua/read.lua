-- KEYS: values, then the index. Answers the value and its PTTL of each.
local answer = {}
for at = 1, #KEYS - 5 do
  local value, is_other = value_of(KEYS[at])
  answer[#answer + 1] = value
  answer[#answer + 1] = value and redis.call('PTTL', KEYS[at]) or -2
  note_read(KEYS[at], value and fresh_for(KEYS[at]), is_other)
end
return answer
