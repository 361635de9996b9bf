-- The index of a ranked namespace. A member of it begins with the 16 digits of its insertion number.

-- Entries that one call lets leave, and that it looks at for keys which somebody else deleted.
local LEAVE_MAX, LOOK_MAX = 100, 20

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function key_of(member)
  return string.sub(member, 17)
end

local function unlist(member)
  redis.call('ZREM', space.reads, member)
  redis.call('ZREM', space.times, member)
  redis.call('HDEL', space.numbers, key_of(member))
end

local function member_of(key)
  local number = redis.call('HGET', space.numbers, key)
  return number and number .. key
end

-- The value first: where it cannot leave, the index keeps it.
local function leave(member)
  redis.call('UNLINK', space.values .. key_of(member))
  unlist(member)
end

-- How many entries there may be: as the newest revision says that any replica wrote down. One that knows no older one writes
-- down its own; one that does not know the newest yet goes by it all the same.
local function entries_max()
  if space.revision == 0 then return space.max end
  local kept = redis.pcall('GET', space.capacity)
  local revision, max = string.match(type(kept) == 'string' and kept or '', '^(%d+) (%d+)$')
  if revision and tonumber(revision) > space.revision then return tonumber(max) end
  if not revision or tonumber(revision) < space.revision then
    -- It fails where memory is used up, and so does the insert then.
    redis.pcall('SET', space.capacity, whole(space.revision) .. ' ' .. whole(space.max))
  end
  return space.max
end

-- Lets entries leave until there are no more than may be, and room for `new` more: what has expired, then the lowest rank,
-- the oldest among equals. Never the entry that is written. Answers how many left.
local function make_room(own, new)
  local count = redis.call('ZCARD', space.reads) + new
  if own then count = count - 1 end
  local max = entries_max()
  if count <= max then return 0 end
  local left = 0
  for _, member in ipairs(redis.call('ZRANGE', space.times, '-inf', whole(now_ms()), 'BYSCORE', 'LIMIT', 0, LEAVE_MAX)) do
    if count <= max then return left end
    if member ~= own then
      leave(member)
      left, count = left + 1, count - 1
    end
  end
  if count > max then
    local seen = redis.call('ZRANGE', space.reads, 0, 0)
    for _, member in ipairs(redis.call('ZRANDMEMBER', space.reads, LOOK_MAX)) do seen[#seen + 1] = member end
    local gone = {}
    for _, member in ipairs(seen) do
      if member ~= own and not gone[member] and redis.call('EXISTS', space.values .. key_of(member)) == 0 then
        gone[member] = true
        unlist(member)
        count = count - 1
      end
    end
  end
  while count > max and left < LEAVE_MAX do
    local lowest = redis.call('ZRANGE', space.reads, 0, 1)
    local member = lowest[1]
    if member == own then member = lowest[2] end
    if not member then break end
    leave(member)
    left, count = left + 1, count - 1
  end
  return left
end

local function set_time(member, ttl)
  if ttl >= 0 then
    redis.call('ZADD', space.times, whole(now_ms() + ttl), member)
  else
    redis.call('ZREM', space.times, member)
  end
end

-- Lists a key as inserted now. `was`: what it was listed as.
local function list(key, was, ttl, reads)
  local number = string.format('%016.0f', redis.call('INCR', space.last))
  if was then unlist(was) end
  redis.call('HSET', space.numbers, key, number)
  redis.call('ZADD', space.reads, reads, number .. key)
  set_time(number .. key, ttl)
end

-- Makes room for a key that is to be written, unless it is there and listed. Answers how many left, and what it was listed
-- as.
local function prepare(key, is_fresh)
  local was = member_of(key)
  if was and is_fresh then return 0, was end
  return make_room(was, 1), was
end

-- Lists a key that was written, as prepared.
local function settle(key, was, is_fresh, ttl)
  if was and is_fresh then set_time(was, ttl) else list(key, was, ttl, 0) end
end

-- Raises the rank of a key that has a fresh value, and lists one that somebody else wrote.
local function raise(key, reads, ttl)
  local member = member_of(key)
  if member then
    redis.call('ZINCRBY', space.reads, reads, member)
  else
    make_room(nil, 1)
    list(key, nil, ttl, reads)
  end
end

-- What reading does to the index. It must not keep a value from being read, for example while memory is used up.
local function note_read(value_key, ttl, is_other)
  local key = string.sub(value_key, #space.values + 1)
  pcall(function()
    if ttl then
      raise(key, 1, ttl)
    elseif is_other or redis.call('EXISTS', value_key) == 0 then
      local member = member_of(key)
      if member then unlist(member) end
    end
  end)
end
