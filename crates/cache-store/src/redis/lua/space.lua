-- What a script knows of the namespace: ARGV[1] how long values are kept stale (ms), ARGV[2] whether fresh values stay,
-- ARGV[3] how many entries there may be where it is ranked, a blank, and which revision of the namespace says so (0: the
-- settings do); `0` alone where it is not. ARGV[4] what its values' keys begin with then.
-- The keys of the index are the last five then: reads, insertion numbers, times of expiry, the last number, the capacity.
local space = { kept = tonumber(ARGV[1]), refuses = ARGV[2] == '1' }
if ARGV[3] ~= '0' then
  space.values = ARGV[4]
  local max, revision = string.match(ARGV[3], '^(%d+) (%d+)$')
  space.max, space.revision = tonumber(max), tonumber(revision)
  space.reads, space.numbers, space.times = KEYS[#KEYS - 4], KEYS[#KEYS - 3], KEYS[#KEYS - 2]
  space.last, space.capacity = KEYS[#KEYS - 1], KEYS[#KEYS]
end

local function whole(number)
  return string.format('%.0f', number)
end

-- How long a value stays fresh still (ms), -1 for ever, nil where there is no fresh one, and whether there is a stale one
-- then.
local function fresh_for(value_key)
  local left = redis.call('PTTL', value_key)
  if left == -1 then return -1 end
  if left > space.kept then return left - space.kept end
  return nil, left ~= -2
end

-- The value, false where there is none, and whether something else is there then: what is no string is no value.
local function value_of(value_key)
  local value = redis.pcall('GET', value_key)
  if type(value) ~= 'table' then return value, false end
  -- Every Redis tells other errors in a way of its own.
  if not string.find(value.err, 'WRONGTYPE', 1, true) then return redis.call('GET', value_key), false end
  return false, true
end
