-- Applies one batch to one shard, whole or not at all.
--
-- KEYS: offsets, names, then the keys of each group in the groups' order. All are declared, so that a Cluster that is
--   moving the slot refuses the script at its beginning instead of in its middle.
-- ARGV: partition, first, next, is_start (1 or 0); then, each preceded by its number of pairs:
--   the names: (expires_ms or +inf, name)
--   groups: 'seen'  and (time_ms, member)             KEYS: a sorted set
--           'sum'   and expires_ms, (key, amount)     KEYS: a hash
--           'total' and (key, amount)                 KEYS: a hash, the sorted set that ranks it
-- Answers 'applied' (now or before), 'gap' with the shard's offset where it has one, or 'leftover' where a removal of
-- the generation was not finished.
--
-- Counts and sums never become Lua numbers: those are exact up to 2^53 only. The ranking may be inexact beyond that; it
-- never puts a smaller sum before a greater one, and whoever reads it looks at the hash.

local OVERFLOWED = '!'
local PAIRS_MAX = 2000 -- in one command: Lua unpacks some 8,000 values at most

local call, pcall = redis.call, redis.pcall
local partition, first, next_offset, is_start = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local offset = call('HGET', KEYS[1], partition)
if not offset then
  if is_start ~= '1' then return {'gap'} end
  if call('EXISTS', KEYS[1]) == 0 and call('EXISTS', KEYS[2]) == 1 then return {'leftover'} end
elseif offset ~= first then
  if tonumber(offset) >= tonumber(next_offset) then return {'applied'} end
  return {'gap', offset}
end

-- First of all writes: where memory is short, Redis refuses a script's first write, and none after it.
call('HSET', KEYS[1], partition, next_offset)

local at = 5
local function raise(key)
  local count = tonumber(ARGV[at])
  at = at + 1
  while count > 0 do
    local pairs_now = math.min(count, PAIRS_MAX)
    call('ZADD', key, 'GT', unpack(ARGV, at, at + 2 * pairs_now - 1))
    at = at + 2 * pairs_now
    count = count - pairs_now
  end
end

local function add(key, member, amount)
  local sum = pcall('HINCRBY', key, member, amount)
  if type(sum) == 'number' then return sum end
  -- Past 64 bits, or it was before: a text in its place keeps it so.
  if not (sum.err:find('overflow') or sum.err:find('not an integer')) then error(sum.err) end
  call('HSET', key, member, OVERFLOWED)
  return math.huge
end

raise(KEYS[2])
local k = 3
while ARGV[at] do
  local kind, key = ARGV[at], KEYS[k]
  at = at + 1
  k = k + 1
  if kind == 'seen' then
    raise(key)
  else
    local expires_ms, ranking
    if kind == 'sum' then
      expires_ms = ARGV[at]
      at = at + 1
    else
      ranking = KEYS[k]
      k = k + 1
    end
    local count = tonumber(ARGV[at])
    for pair = at + 1, at + 2 * count, 2 do
      local member = ARGV[pair]
      local sum = add(key, member, ARGV[pair + 1])
      -- Negative, so that the greatest come first and equals by key.
      if ranking then call('ZADD', ranking, -sum, member) end
    end
    at = at + 1 + 2 * count
    if expires_ms then call('PEXPIREAT', key, expires_ms) end
  end
end
return {'applied'}
