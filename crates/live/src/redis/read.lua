-- Reads figures and applied offsets of one shard in one step. Writes nothing.
--
-- KEYS: offsets, then what the question needs. ARGV: the question, then
--   'offsets'
--   'count'   start_ms                      KEYS: members        members since then, of one key
--   'counts'  start_ms, prefix of members   KEYS: keys' latest   the same of every key
--   'sum'     key                           KEYS: hashes         one key's amount in each hash
--   'sums'                                  KEYS: hashes         every key's amounts
--   'ranked'  number                        KEYS: hash, ranking  the keys with the greatest amounts
-- Answers the offsets (partition, offset, ...), how many more keys have a figure, and (key, part of its figure, ...).

local FIELDS_MAX = 4000 -- in one command: Lua unpacks some 8,000 values at most
local EXACT = 2 ^ 53
-- Numbers of so many characters can be added up 9,000 times (a window has far fewer buckets) and be exact.
local SHORT = 12

local call = redis.call
local question = ARGV[1]
local offsets = call('HGETALL', KEYS[1])
local parts, more = {}, 0
local function part(key, amount)
  parts[#parts + 1] = key
  parts[#parts + 1] = amount
end

if question == 'count' then
  local count = call('ZCOUNT', KEYS[2], ARGV[2], '+inf')
  if count > 0 then part('', tostring(count)) end
elseif question == 'counts' then
  for _, key in ipairs(call('ZRANGEBYSCORE', KEYS[2], ARGV[2], '+inf')) do
    part(key, tostring(call('ZCOUNT', ARGV[3] .. key, ARGV[2], '+inf')))
  end
elseif question == 'sum' then
  for k = 2, #KEYS do
    local amount = call('HGET', KEYS[k], ARGV[2])
    if amount then part(ARGV[2], amount) end
  end
elseif question == 'sums' then
  local short = {}
  for k = 2, #KEYS do
    local hash = call('HGETALL', KEYS[k])
    for i = 1, #hash, 2 do
      local key, amount = hash[i], hash[i + 1]
      local number = #amount <= SHORT and tonumber(amount)
      if number then short[key] = (short[key] or 0) + number else part(key, amount) end
    end
  end
  for key, sum in pairs(short) do part(key, string.format('%.0f', sum)) end
elseif question == 'ranked' then
  local wanted, count = tonumber(ARGV[2]), call('ZCARD', KEYS[3])
  local keys = {}
  if wanted > 0 then keys = call('ZRANGE', KEYS[3], 0, ARGV[2] - 1) end
  if #keys > 0 and #keys < count then
    local last = call('ZSCORE', KEYS[3], keys[#keys])
    -- Different sums can have the same rank there: all of them are looked at.
    if math.abs(tonumber(last)) >= EXACT then keys = call('ZRANGEBYSCORE', KEYS[3], '-inf', last) end
  end
  for i = 1, #keys, FIELDS_MAX do
    local stop = math.min(i + FIELDS_MAX - 1, #keys)
    local amounts = call('HMGET', KEYS[2], unpack(keys, i, stop))
    for j = 1, #amounts do part(keys[i + j - 1], amounts[j]) end
  end
  more = count - #keys
end
return {offsets, more, parts}
