-- wrk: send one token after the other (BENCH_TOKENS, one a line) behind the same head (BENCH_HEAD), and print JSON.
local head, requests, turn = "", {}, 0

function init()
   local file = assert(io.open(os.getenv("BENCH_HEAD"), "rb"))
   head = file:read("*a")
   file:close()
   for token in io.lines(os.getenv("BENCH_TOKENS")) do
      requests[#requests + 1] = head .. token .. "\r\n\r\n"
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

function done(summary)
   local errors = summary.errors
   local broken = errors.connect + errors.read + errors.write + errors.timeout
   io.write(string.format('{"requests": %d, "not_2xx": %d, "broken": %d}\n', summary.requests, errors.status, broken))
end
