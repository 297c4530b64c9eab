-- Mark the owner of slots alive, where it still owns them.
-- KEYS: dataset, fences, alive. ARGV: alive_at, then slot, epoch for each.
-- Returns {"OK"}, {"WIPED", slots...} or {"STALE", slots...}; slots still owned are marked all the same.

local CHUNK = 4000

if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'WIPED'}
end

local stale, behind, alive = {'STALE'}, {'WIPED'}, {}
for at = 2, #ARGV, 2 do
  local epoch, owner = string.match(redis.call('HGET', KEYS[2], ARGV[at]) or '', '^(%d+) %d+ (.*)$')
  if not epoch then
    epoch, owner = '0', ''
  end
  local ahead = tonumber(epoch) - tonumber(ARGV[at + 1])
  if ahead > 0 or (ahead == 0 and owner == '') then
    stale[#stale + 1] = ARGV[at]
  elseif ahead < 0 then
    behind[#behind + 1] = ARGV[at]
  else
    alive[#alive + 1] = ARGV[at]
    alive[#alive + 1] = ARGV[1]
  end
end
for first = 1, #alive, CHUNK do
  redis.call('HSET', KEYS[3], unpack(alive, first, math.min(first + CHUNK - 1, #alive)))
end
if #stale > 1 then return stale end
if #behind > 1 then return behind end
return {'OK'}
