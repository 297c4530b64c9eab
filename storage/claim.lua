-- Take slots whose epoch is still the expected one.
-- KEYS: dataset, fences, alive. ARGV: owner, after_wipe ("1" or "0"), then slot, expected epoch, the epoch to write for each.
-- Returns {"OK", slot, when its last owner was alive or "", ...} of those taken, or {"WIPED"}.

local after_wipe = ARGV[2] == '1'
if not after_wipe and redis.call('EXISTS', KEYS[1]) == 0 then
  return {'WIPED'}
end

local claimed = {'OK'}
for at = 3, #ARGV, 3 do
  local slot, expected = ARGV[at], tonumber(ARGV[at + 1])
  local stored = tonumber(string.match(redis.call('HGET', KEYS[2], slot) or '', '^(%d+) %d+ ') or '0')
  if stored == expected or (after_wipe and stored < expected) then
    redis.call('HSET', KEYS[2], slot, ARGV[at + 2] .. ' 0 ' .. ARGV[1])
    claimed[#claimed + 1] = slot
    claimed[#claimed + 1] = redis.call('HGET', KEYS[3], slot) or ''
  end
end
return claimed
