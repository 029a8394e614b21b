-- Asks Keyrack about a request. What it lets through goes on with who calls in its headers; all else is answered here.

local keyrack = os.getenv("KEYRACK_URL") or "http://127.0.0.1:8000"

local identities = {
    "x-request-id", "x-consumer-id", "x-consumer-username", "x-consumer-groups", "x-credential-identifier",
    "x-keyrack-key-name", "x-keyrack-workspace", "x-keyrack-scopes", "x-keyrack-role",
}
local is_identity = {}
for _, name in ipairs(identities) do
    is_identity[name] = true
end
-- What of a request Keyrack decides by. Of the question itself nothing comes from the caller.
local asked_by = { "x-api-key", "authorization", "user-agent", "accept", "cookie", "origin", "sec-fetch-site" }
-- What of a refusal the caller is shown.
local shown = {
    "content-type", "www-authenticate", "retry-after", "ratelimit", "ratelimit-policy", "x-ratelimit-limit",
    "x-ratelimit-remaining", "x-ratelimit-reset", "x-request-id", "cache-control",
}

local function refuse(txn, status, headers, body)
    local reply = txn:reply({ status = status, body = body })
    for _, name in ipairs(shown) do
        for _, value in pairs(headers[name] or {}) do
            reply:add_header(name, value)
        end
    end
    txn:done(reply)
end

core.register_action("keyrack", { "http-req" }, function(txn)
    local request = txn.http:req_get_headers()
    local question = {}
    for _, name in ipairs(asked_by) do
        if request[name] then
            local values = {}
            for _, value in pairs(request[name]) do
                values[#values + 1] = value
            end
            question[name] = values
        end
    end
    question["x-original-uri"] = { txn.f:pathq() or "" }
    question["x-original-method"] = { txn.f:method() }
    question["x-original-host"] = { txn.f:req_hdr("host") or "" }
    question["x-forwarded-for"] = { txn.f:src() }

    local answer = core.httpclient():get({ url = keyrack .. "/forward-auth/haproxy", headers = question, timeout = 3000 })
    if not answer or answer.status == 0 or answer.status >= 500 then
        local body = '{"error":"unavailable","message":"It cannot be decided now who may pass; try again later"}'
        return refuse(txn, 503, { ["content-type"] = { "application/json" }, ["retry-after"] = { "1" } }, body)
    end
    if answer.status ~= 200 then
        return refuse(txn, answer.status, answer.headers, answer.body)
    end
    -- With underscores they are the same names to many services.
    for name in pairs(request) do
        if is_identity[(string.gsub(name, "_", "-"))] then
            txn.http:req_del_header(name)
        end
    end
    for _, name in ipairs(identities) do
        txn.http:req_set_header(name, (answer.headers[name] or {})[0] or "-")
    end
    for variable, name in pairs({ keyrack_rate = "ratelimit", keyrack_rate_policy = "ratelimit-policy" }) do
        if answer.headers[name] then
            txn:set_var("txn." .. variable, answer.headers[name][0])
        end
    end
end)
