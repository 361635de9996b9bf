-- What a script knows of the namespace: ARGV[1] how long values are kept stale (ms), ARGV[2] whether fresh values stay,
-- ARGV[3] how many entries there may be where it is ranked (0: it is not), ARGV[4] what its values' keys begin with then.
-- The keys of the index are the last four then: reads, insertion numbers, times of expiry, the last number.
local space = { kept = tonumber(ARGV[1]), refuses = ARGV[2] == '1' }
if ARGV[3] ~= '0' then
  space.max = tonumber(ARGV[3])
  space.values = ARGV[4]
  space.reads, space.numbers, space.times, space.last = KEYS[#KEYS - 3], KEYS[#KEYS - 2], KEYS[#KEYS - 1], KEYS[#KEYS]
end

local function whole(number)
  return string.format('%.0f', number)
end

-- How long a value stays fresh still (ms), -1 for ever, nil where there is no fresh one.
local function fresh_for(value_key)
  local left = redis.call('PTTL', value_key)
  if left == -1 then return -1 end
  if left > space.kept then return left - space.kept end
  return nil
end
