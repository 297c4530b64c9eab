-- wrk's script: five reports of one session in a post, as a player with a `batchSize` sends them. Arguments as in heartbeats.lua.
local streams = tonumber(os.getenv("BENCH_STREAMS") or 100)
local template = 'bl=(6100),br=(510),cid="stream_%03d",e=t,mtp=(21700),sf=h,sid="%s_%06d",sn=%d,st=l,sta=p,ts=%d,v=2\n'
local number = 0

local function path_of(session, space)
  local lines = {}
  for line = 1, 5 do
    number = number + 1
    lines[line] = string.format(template, session % streams, space, session, number, os.time() * 1000 + number % 1000)
  end
  return "POST", "/cmcd", table.concat(lines)
end

dofile(os.getenv("BENCH_WALK"))(path_of)
