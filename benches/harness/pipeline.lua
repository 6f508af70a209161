-- Sixteen requests at a time on each connection.
local directory = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
dofile(directory .. "report.lua")

local batch

function init(arguments)
  local requests = {}
  for place = 1, 16 do
    requests[place] = wrk.format()
  end
  batch = table.concat(requests)
end

function request()
  return batch
end
