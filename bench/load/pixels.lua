-- wrk's script: the pixel. Arguments as in heartbeats.lua; the token is not sent.
local function path_of(session, space)
  return "GET", string.format("/icon.gif?type=check&v=stream_%03d&p=zone-1&u=%s_%06d&visibility=true", session % 100, space, session), nil
end

dofile(os.getenv("BENCH_WALK"))(path_of)
