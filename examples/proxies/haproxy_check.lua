-- Asks `logout-middleware serve` about a request, and tells HAProxy in variables what it said. See haproxy.cfg.
--
-- Whatever goes wrong in here, txn.logout_status is not "200", and haproxy.cfg lets nothing pass without that.

local TIMEOUT_MS = 5000
local IDENTITY = { "subject", "session", "client", "issuer", "expires" }
-- Nothing of the request but its credentials, and what says who asks. The body stays with the application.
local ASKED_WITH = { "authorization", "cookie", "dpop", "host", "user-agent", "x-forwarded-proto", "x-logout-passive" }

local function first(headers, name)
    local lines = headers[name]
    -- The client of HAProxy counts from 0 in requests, and from 0 or 1 in answers.
    return lines and (lines[0] or lines[1])
end

core.register_action("logout_check", { "http-req" }, function(txn)
    txn:set_var("txn.logout_status", "asking")
    local headers, received = {}, txn.http:req_get_headers()
    for _, name in ipairs(ASKED_WITH) do
        if received[name] then
            -- All lines of a field: which of two credentials is meant is for the check to say.
            local lines = {}
            for index = 0, #received[name] do
                if received[name][index] then
                    lines[#lines + 1] = received[name][index]
                end
            end
            headers[name] = lines
        end
    end
    headers["x-original-uri"] = { txn.f:pathq() }
    headers["x-forwarded-for"] = { txn.f:src() }

    local answer = core.httpclient():get({
        url = "http://localhost/auth/check",
        dst = os.getenv("LOGOUT_CHECK"),
        headers = headers,
        timeout = TIMEOUT_MS,
    })
    if not answer or not answer.status then
        return txn:set_var("txn.logout_status", "away")
    end
    local told = answer.headers or {}
    for _, name in ipairs(IDENTITY) do
        txn:set_var("txn.logout_" .. name, first(told, "x-auth-" .. name) or "")
    end
    txn:set_var("txn.logout_challenge", first(told, "www-authenticate") or "Bearer")
    local cookie = first(told, "set-cookie")
    if cookie then
        txn:set_var("txn.logout_cookie", cookie)
    end
    txn:set_var("txn.logout_status", tostring(answer.status))
end)
