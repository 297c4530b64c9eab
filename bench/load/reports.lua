-- wrk's script: one report of a player that reports by itself, as hls.js sends it every half minute. Arguments as in heartbeats.lua.
local streams = tonumber(os.getenv("BENCH_STREAMS") or 100)
local template = 'bl=(6100),br=(510),cid="stream_%03d",e=t,mtp=(21700),sf=h,sid="%s_%06d",sn=%d,st=l,sta=p,ts=%d,v=2\n'
local number = 0

local function path_of(session, space)
  number = number + 1
  return "POST", "/cmcd", string.format(template, session % streams, space, session, number, os.time() * 1000 + number % 1000)
end

dofile(os.getenv("BENCH_WALK"))(path_of)
