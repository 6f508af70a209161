-- Uploads of 1 MiB, counted as report.lua does.
wrk.method = "POST"
wrk.body = string.rep("x", 1048576)
dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "report.lua")
