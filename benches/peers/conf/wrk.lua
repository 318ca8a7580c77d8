-- What wrk sends, and how it reports. In the environment:
-- TOKEN (optional): one bearer token. TOKENS, FROM, COUNT: instead, a file with one a line; COUNT of them after FROM, in turn.
-- CLOSE (optional): a connection for each request.
-- PAUSE (optional): the mean of the random pause before each request of a connection, in milliseconds.
-- The last line it prints is JSON.
local function request_with(token)
  -- LuaJIT's hash of a long string looks at its middle and its ends. With the token first, the middle lies in the
  -- signature. With the token last it lies in the claims, and to make 40,000 requests has at times taken a minute.
  return "GET " .. wrk.path .. " HTTP/1.1\r\n"
    .. (token and "Authorization: Bearer " .. token .. "\r\n" or "")
    .. "Host: localhost\r\nAccept: application/json, text/plain, */*\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) wrk/4\r\n"
    .. (os.getenv("CLOSE") and "Connection: close\r\n" or "") .. "\r\n"
end

local requests, last = {}, 0

init = function()
  local file = os.getenv("TOKENS")
  if not file then
    requests[1] = request_with(os.getenv("TOKEN"))
    return
  end
  local from, count, number = tonumber(os.getenv("FROM")), tonumber(os.getenv("COUNT")), 0
  for line in io.lines(file) do
    number = number + 1
    if number > from + count then break end
    if number > from then requests[#requests + 1] = request_with(line) end
  end
end

request = function()
  last = last % #requests + 1
  return requests[last]
end

local pause = tonumber(os.getenv("PAUSE") or "")
if pause then
  delay = function() return math.random(0, 2 * pause) end
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"refused":%d,"errors":%d,"p50":%.0f,"p99":%.0f}\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
