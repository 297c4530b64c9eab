-- Give slots up: no owner, the same epoch. Slots with a later epoch are left alone.
-- KEYS: dataset, fences. ARGV: slot, epoch for each.
-- Returns {"OK"}, or {"WIPED", slots...}: these are not there, or behind, and nothing was given up.

if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'WIPED'}
end

local behind, mine = {'WIPED'}, {}
for at = 1, #ARGV, 2 do
  local epoch, number = string.match(redis.call('HGET', KEYS[2], ARGV[at]) or '', '^(%d+) (%d+) ')
  local ahead = tonumber(epoch or '0') - tonumber(ARGV[at + 1])
  if ahead < 0 then
    behind[#behind + 1] = ARGV[at]
  elseif ahead == 0 and epoch and epoch ~= '0' then
    mine[#mine + 1] = {ARGV[at], epoch .. ' ' .. number .. ' '}
  end
end
if #behind > 1 then return behind end
for _, released in ipairs(mine) do
  redis.call('HSET', KEYS[2], released[1], released[2])
end
return {'OK'}
