-- One bounded step of forgetting a shard whole.
--
-- KEYS: offsets, names. ARGV: prefix of keys, keys at most.
-- Answers 1 while there is more to forget, else 0.

local call = redis.call
local prefix, left = ARGV[1], tonumber(ARGV[2])

-- First: a shard without offsets counts as lost, so that what is half forgotten is never taken for figures.
call('DEL', KEYS[1])
for _, name in ipairs(call('ZRANGE', KEYS[2], 0, left - 1)) do
  local key = prefix .. name
  if name:find('^seen:') then
    for _, by in ipairs(call('ZRANGE', key, 0, left - 1)) do
      call('UNLINK', key .. ':' .. by)
      call('ZREM', key, by)
      left = left - 1
    end
    if left <= 0 then return 1 end
  else
    call('UNLINK', key)
  end
  call('ZREM', KEYS[2], name)
  left = left - 1
  if left <= 0 then break end
end
return call('EXISTS', KEYS[2])
