-- Lets wrk ask for random hosts: h0.bench.example to h<N-1>.bench.example, N being the first argument.
-- The requests are made beforehand, so that making them costs the run nothing.
local requests = {}

function init(args)
   local hosts = tonumber(args[1])
   math.randomseed(1)
   for i = 1, 20000 do
      local host = string.format("h%d.bench.example", math.random(0, hosts - 1))
      requests[i] = wrk.format("GET", "/small", { Host = host })
   end
end

local next = 0

function request()
   next = next % #requests + 1
   return requests[next]
end
