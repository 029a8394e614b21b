-- Asks Keyrack about a request. What it lets through goes on with who calls in its headers; all else is answered here. A request
-- that comes to no end here, whatever the reason, is refused by haproxy.cfg.

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
local asked_by = {
    "x-api-key", "authorization", "user-agent", "accept", "origin", "sec-fetch-site", "keyrack-organization",
}
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

local function refuse_for(txn, status, code, message)
    local body = '{"error":"' .. code .. '","message":"' .. message .. '"}'
    refuse(txn, status, { ["content-type"] = { "application/json" }, ["retry-after"] = status == 503 and { "1" } or nil }, body)
end

-- All values of a header, first to last, in the order they came.
local function values_of(request, name)
    local values = {}
    local at = 0
    while request[name] and request[name][at] do
        values[#values + 1] = request[name][at]
        at = at + 1
    end
    return values
end

core.register_action("keyrack", { "http-req" }, function(txn)
    local request = txn.http:req_get_headers()
    -- With underscores they are the same names to many services.
    for name in pairs(request) do
        if is_identity[(string.gsub(name, "_", "-"))] then
            txn.http:req_del_header(name)
        end
    end

    -- One line for each: a question with very many would be more than HAProxy can hold.
    local question = {}
    for _, name in ipairs(asked_by) do
        local values = values_of(request, name)
        if #values > 1 and (name == "x-api-key" or name == "authorization") then
            return refuse_for(txn, 401, "invalid_api_key", "Invalid API key")
        end
        if #values > 0 then
            question[name] = { values[1] }
        end
    end
    local cookies = values_of(request, "cookie")
    if #cookies > 0 then
        question["cookie"] = { table.concat(cookies, "; ") }
    end
    question["x-original-uri"] = { txn.f:pathq() or "" }
    question["x-original-method"] = { txn.f:method() }
    question["x-original-host"] = { txn.f:req_fhdr("host") or "" }
    question["x-forwarded-for"] = { txn.f:src() }

    local asked, answer = pcall(function()
        return core.httpclient():get({ url = keyrack .. "/forward-auth/haproxy", headers = question, timeout = 3000 })
    end)
    if not asked or not answer or not answer.status or answer.status == 0 or answer.status >= 500 then
        return refuse_for(txn, 503, "unavailable", "It cannot be decided now who may pass; try again later")
    end
    if answer.status ~= 200 then
        return refuse(txn, answer.status, answer.headers, answer.body)
    end
    for _, name in ipairs(identities) do
        txn.http:req_set_header(name, (answer.headers[name] or {})[0] or "-")
    end
    for variable, name in pairs({ keyrack_rate = "ratelimit", keyrack_rate_policy = "ratelimit-policy" }) do
        if answer.headers[name] then
            txn:set_var("txn." .. variable, answer.headers[name][0])
        end
    end
    -- The very last: without it nothing passes.
    txn:set_var("txn.keyrack_passed", true)
end)
