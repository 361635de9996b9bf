-- One write, alike for those that are done at once and those that were queued. Whatever may fail for want of memory is the
-- first that changes something: it fails before anything is done.
-- Answers: d, existed, ttl (or nothing), how many left, the sum (or nothing); or why not: e exists, m and the etag: not
-- met, n: not a number, o: overflow; or Redis' error.

local function etag(value_key)
  local value = redis.pcall('GET', value_key)
  return type(value) == 'string' and redis.sha1hex(value) or ''
end

-- Whether what is at a key is a value: what is no string, another program put there.
local function is_string(value_key)
  return redis.call('TYPE', value_key).ok == 'string'
end

local function set(value_key, value, ttl)
  if ttl == '' then
    redis.call('SET', value_key, value)
  else
    redis.call('SET', value_key, value, 'PX', whole(tonumber(ttl) + space.kept))
  end
end

local function set_ttl(value_key, ttl)
  if ttl == '' then
    redis.call('PERSIST', value_key)
  else
    redis.call('PEXPIRE', value_key, whole(tonumber(ttl) + space.kept))
  end
end

local function is_met(value_key, beside_key, was, condition, given)
  if condition == '*' then return true end
  if condition == 'a' then return not was end
  if condition == 'p' then return was and true end
  if condition == 'e' then return was and etag(value_key) == given end
  return not was and redis.call('GET', beside_key) == 'l' .. given
end

-- op p: value, ttl, condition, what the condition is given. a: delta, sum where absent, ttl, ttl where absent. t: ttl. d.
local function change(value_key, beside_key, op, first, second, third, fourth)
  local was, is_stale = fresh_for(value_key)
  -- Only what depends on a value asks whether it is one: a put replaces whatever is there, and adding fails.
  if was and (op == 't' or op == 'd' or space.refuses or op == 'p' and third ~= '*' and third ~= 'e') then
    if not is_string(value_key) then
      if op == 'a' then return { 'n' } end
      was = nil
    end
  end
  local ttl, evicted, sum = '', 0, ''
  local key = space.max and string.sub(value_key, #space.values + 1)
  local listed
  if was and space.refuses and (op == 'p' or op == 'a') then return { 'e' } end
  if op == 'p' then
    if not is_met(value_key, beside_key, was, third, fourth) then
      return { 'm', was and etag(value_key) or '' }
    end
    if key then evicted, listed = prepare(key, was) end
    set(value_key, first, second)
    ttl = second
  elseif op == 'a' and was then
    local added = redis.pcall('INCRBY', value_key, first)
    if type(added) == 'table' and added.err then
      if string.find(added.err, 'overflow', 1, true) then return { 'o' } end
      if string.find(added.err, 'not an integer', 1, true) or string.find(added.err, 'WRONGTYPE', 1, true) then
        return { 'n' }
      end
      return added
    end
    -- A number of Lua's would lose digits.
    sum = redis.call('GET', value_key)
    if third ~= '' then set_ttl(value_key, third) end
    ttl = third ~= '' and third or (was == -1 and '' or whole(was))
    if key then evicted, listed = prepare(key, was) end
  elseif op == 'a' then
    if is_stale and not is_string(value_key) then return { 'n' } end
    if second == '' then return { 'o' } end
    if key then evicted, listed = prepare(key, was) end
    set(value_key, second, fourth)
    sum, ttl = second, fourth
  elseif op == 't' then
    if was then
      set_ttl(value_key, first)
      ttl = first
      listed = key and member_of(key)
      if listed then set_time(listed, first == '' and -1 or tonumber(first)) end
    end
  else
    redis.call('UNLINK', value_key)
    listed = key and member_of(key)
    if listed then unlist(listed) end
  end
  if key and (op == 'p' or op == 'a') then settle(key, listed, was, ttl == '' and -1 or tonumber(ttl)) end
  redis.call('UNLINK', beside_key)
  return { 'd', was and 1 or 0, ttl, evicted, sum }
end
