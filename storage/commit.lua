-- Write a batch over many slots, or nothing of it.
-- KEYS: dataset, fences, records, alive, finished, then the sessions of each slot written, in the order of ARGV, then what was set
--   aside of those slots that set anything aside or take it back, in the same order.
-- ARGV: alive_at, finished_max, how many slots, how many finished, these; then for each slot: slot, epoch, number, record,
--   replace ("1" or "0"), how many values, these (id, bytes, id, bytes, ...), how many forgotten, these (ids),
--   how many values set aside, these (id, bytes, ...), how many taken back, these (ids).
-- A fence that is damaged counts as lost.
-- Returns {"OK"}, {"WIPED", slots...}, {"STALE", slots...} or {"MIXED", slots written before...}.
-- The first write is an HSET: a server that is full, read-only or unable to persist refuses a script at its first write, as a whole.

local CHUNK = 4000 -- unpack() takes some 8,000 values; even, so that pairs stay together

if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'WIPED'}
end

local writes, slots = {}, {}
local aside_key = 5 + tonumber(ARGV[3])
local at = 5 + tonumber(ARGV[4])
for key = 6, aside_key do
  local write = {key = KEYS[key], slot = ARGV[at], epoch = ARGV[at + 1], number = ARGV[at + 2], record = ARGV[at + 3], replace = ARGV[at + 4]}
  write.values = at + 6
  write.values_end = at + 5 + tonumber(ARGV[at + 5])
  write.forgotten = write.values_end + 2
  write.forgotten_end = write.values_end + 1 + tonumber(ARGV[write.values_end + 1])
  write.aside = write.forgotten_end + 2
  write.aside_end = write.forgotten_end + 1 + tonumber(ARGV[write.forgotten_end + 1])
  write.back = write.aside_end + 2
  write.back_end = write.aside_end + 1 + tonumber(ARGV[write.aside_end + 1])
  at = write.back_end + 1
  writes[#writes + 1] = write
  slots[#slots + 1] = write.slot
end

local stale, behind, gaps, repeated = {'STALE'}, {'WIPED'}, {'WIPED'}, {'MIXED'}
for first = 1, #slots, CHUNK do
  local fences = redis.call('HMGET', KEYS[2], unpack(slots, first, math.min(first + CHUNK - 1, #slots)))
  for i, fence in ipairs(fences) do
    local write = writes[first + i - 1]
    local epoch, number, owner = string.match(fence or '', '^(%d+) (%d+) (.*)$')
    if not epoch then
      epoch, number, owner = '0', '0', ''
    end
    local ahead = tonumber(epoch) - tonumber(write.epoch)
    if ahead > 0 or (ahead == 0 and owner == '') then
      stale[#stale + 1] = write.slot
    elseif ahead < 0 then
      behind[#behind + 1] = write.slot
    else
      local step = tonumber(write.number) - tonumber(number)
      if step > 1 then
        gaps[#gaps + 1] = write.slot
      elseif step < 1 then
        repeated[#repeated + 1] = write.slot
      end
      write.fence = epoch .. ' ' .. write.number .. ' ' .. owner
    end
  end
end
if #stale > 1 then return stale end
if #behind > 1 then return behind end
if #gaps > 1 then return gaps end
if #repeated > 1 then
  if #repeated - 1 == #writes then return {'OK'} end
  return repeated
end

local fences, records, alive = {}, {}, {}
for i, write in ipairs(writes) do
  fences[2 * i - 1], fences[2 * i] = write.slot, write.fence
  records[2 * i - 1], records[2 * i] = write.slot, write.record
  alive[2 * i - 1], alive[2 * i] = write.slot, ARGV[1]
end
for first = 1, #fences, CHUNK do
  local last = math.min(first + CHUNK - 1, #fences)
  redis.call('HSET', KEYS[2], unpack(fences, first, last))
  redis.call('HSET', KEYS[3], unpack(records, first, last))
  redis.call('HSET', KEYS[4], unpack(alive, first, last))
end

for _, write in ipairs(writes) do
  if write.replace == '1' then
    redis.call('UNLINK', write.key)
  end
  for first = write.values, write.values_end, CHUNK do
    redis.call('HSET', write.key, unpack(ARGV, first, math.min(first + CHUNK - 1, write.values_end)))
  end
  for first = write.forgotten, write.forgotten_end, CHUNK do
    redis.call('HDEL', write.key, unpack(ARGV, first, math.min(first + CHUNK - 1, write.forgotten_end)))
  end
  if write.aside_end >= write.aside or write.back_end >= write.back then
    aside_key = aside_key + 1
    for first = write.aside, write.aside_end, CHUNK do
      local last = math.min(first + CHUNK - 1, write.aside_end)
      redis.call('HSET', KEYS[aside_key], unpack(ARGV, first, last))
      for id = first, last, 2 do
        redis.call('HDEL', write.key, ARGV[id])
      end
    end
    for first = write.back, write.back_end, CHUNK do
      redis.call('HDEL', KEYS[aside_key], unpack(ARGV, first, math.min(first + CHUNK - 1, write.back_end)))
    end
  end
end
for i = 5, 4 + tonumber(ARGV[4]) do
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[2], '*', 'summary', ARGV[i])
end
return {'OK'}
