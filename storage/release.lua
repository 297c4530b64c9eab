-- Give slots up: no owner, the same epoch. Slots with another epoch are left alone.
-- KEYS: fences. ARGV: slot, epoch for each.

for at = 1, #ARGV, 2 do
  local epoch, number = string.match(redis.call('HGET', KEYS[1], ARGV[at]) or '', '^(%d+) (%d+) ')
  if epoch and tonumber(epoch) == tonumber(ARGV[at + 1]) and epoch ~= '0' then
    redis.call('HSET', KEYS[1], ARGV[at], epoch .. ' ' .. number .. ' ')
  end
end
return {'OK'}
