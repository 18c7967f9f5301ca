-- How are sign-offs sent to Assent as fast as it takes them? A script of wrk.
--
-- Arguments: a file with "request-id token" on each line, a tag for the keys of this load, its seconds, and for how
-- many milliseconds a connection waits before each command.
-- After these seconds a connection sends nothing more, so that no command is on its way when wrk hangs up.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } moment;
  int clock_gettime(int clock, moment *now);
]]

local MONOTONIC = 1
local moment = ffi.new("moment")
local threads = 0

local function now()
  ffi.C.clock_gettime(MONOTONIC, moment)
  return tonumber(moment.seconds) + tonumber(moment.nanoseconds) / 1e9
end

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

function init(arguments)
  targets = {}
  for line in io.lines(arguments[1]) do
    local request, token = line:match("^(%S+) (%S+)$")
    targets[#targets + 1] = "POST /api/v1/requests/" .. request .. "/sign-offs HTTP/1.1\r\nHost: localhost\r\n"
      .. "Authorization: Bearer " .. token .. "\r\nContent-Type: application/json\r\nIdempotency-Key: "
  end
  tag, seconds = arguments[2] .. "-" .. id .. "-", tonumber(arguments[3])
  sent = id * math.floor(#targets / 2)
  pause = tonumber(arguments[4])
  if pause > 0 then
    function delay()
      return pause
    end
  end
end

function request()
  deadline = deadline or now() + seconds
  if now() > deadline then
    return ""
  end
  sent = sent + 1
  local key = tag .. string.format("%08d", sent)
  local body = '{"agency":"commerce","position":"approve","reason":"Reviewed again, ' .. key .. '"}'
  return targets[sent % #targets + 1] .. key .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answers": %d, "refused": %d, "broken": %d, "p50_ms": %f, "p99_ms": %f}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
