"""Hooks for schemathesis over Keyrack's API.

1. `before_call` keeps the caller's own access, while everything else may be destroyed: it turns away the calls that would take
   the caller's group out of the access groups, suspend or delete its organization, change or end its own key, or take its own
   membership. A session that was signed out is opened anew.
2. It makes most of the valid requests hold together across fields (a name that exists, a moment to come, no idempotency key
   that stands for another request), which no schema can say; every fourth goes out as generated.
3. `filter_failure` excuses refusals of valid requests for reasons that no schema can say. Each has a line below.
4. The check `every_operation_succeeds` says which operations a run never reached.
"""

import os
import re
import uuid
import zlib

import requests
import schemathesis

URL = os.environ["API_URL"]
KEY = os.environ.get("API_KEY", "")
SESSION = os.environ.get("API_SESSION", "")
EMAIL = os.environ.get("API_EMAIL", "you@example.com")
PASSWORD = os.environ.get("API_PASSWORD", "correct horse battery staple")
COOKIE = "__Host-keyrack_session"
LATER = "2099-01-01T00:00:00Z"


def ask(path, body=None):
    """Asks as the caller: GET, or POST with a body."""
    headers = {"X-API-Key": KEY}
    if SESSION:
        headers = {"Cookie": f"{COOKIE}={session}", "Keyrack-Organization": os.environ["API_ORGANIZATION"]}
    answer = requests.request("GET" if body is None else "POST", URL + path, headers=headers, json=body, timeout=10)
    answer.raise_for_status()
    return answer.json()


session = SESSION
ME = ask("/api/session")
OWN_KEY = ME["key"]["id"] if ME["key"] else None
OWN_USER = ME["user"]["id"] if ME["user"] else None
OWN_ORGANIZATION = ME["organization"]["id"]
GROUPS = {group["name"]: group["id"] for group in ask("/api/groups")["data"]}
OWN_GROUP = GROUPS["management"]
count = 0


def operation_of(case):
    return case.operation.definition.raw.get("operationId")


def is_mended(case):
    """Whether a request is made to hold together: three of four valid ones, and all in the stateful phase.

    It depends on the request alone: the stateful phase sends the same request again and expects the same to come of it.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return False
    as_generated = zlib.crc32(repr((case.method, case.path, case.path_parameters, case.body, case.query)).encode("utf-8", "replace")) % 4 == 0
    return case.meta.phase.name.value == "stateful" or not as_generated


@schemathesis.hook
def before_call(context, case, kwargs):
    global count
    count += 1
    if case.method.upper() != case.operation.method.upper():
        return
    operation = operation_of(case)
    if is_mended(case):
        if isinstance(case.body, dict):
            hold_together(operation, case.body)
        (case.headers or {}).pop("Idempotency-Key", None)
        if isinstance(case.query, dict) and operation.startswith("list"):
            case.query.pop("cursor", None)
            case.query.pop("owner", None)
            case.query.pop("after", None)
        case.path_parameters.update(made(operation))
    keep_access(operation, case)
    if SESSION and (case.cookies or {}).get(COOKIE) == SESSION:
        case.cookies[COOKIE] = session


def invitation():
    """The token of an invitation."""
    return ask("/api/members", {"email": f"{uuid.uuid4()}@example.com", "role": "member"})["invitation"]["token"]


def script(number):
    return f"export default () => new Response('{number}')"


def made(operation):
    """The parameters of a path whose thing only a whole conversation brings about."""
    if operation == "endOverlap":
        key = ask("/api/keys", {"name": f"rotated {count}"})["key"]["id"]
        ask(f"/api/keys/{key}/rotate", {"overlap_seconds": 3600})
        return {"id": key, "version": 1}
    if operation == "endSession" and SESSION:
        cookies = {COOKIE: sign_in()}
        listed = requests.get(URL + "/api/profile/sessions", cookies=cookies, timeout=10).json()["data"]
        return {"session_id": next(one["id"] for one in listed if one["is_current"])}
    if operation == "revealKey" and SESSION:
        step_up()
        ask("/api/groups", {"name": f"kept{count}", "recoverable": True})
        return {"id": ask("/api/keys", {"name": f"kept {count}", "group": f"kept{count}"})["key"]["id"]}
    if operation == "getScriptVersion":
        target = {"kind": "script", "source": script(count)}
        return {"id": ask("/api/routes", {"path": f"/script{count}", "guard": {"public": True}, "target": target})["id"], "version": 1}
    if operation in ("updateMember", "removeMember"):
        return {"user_id": ask("/api/members/accept", {"token": invitation(), "password": PASSWORD})["user_id"]}
    return {}


def keep_access(operation, case):
    path, body = case.path_parameters or {}, case.body
    id = str(path.get("id", "")).lower()
    if operation in ("deleteKey", "revokeKey", "rotateKey", "updateKey") and id == OWN_KEY:
        case.path_parameters["id"] = str(uuid.UUID(int=0))
    elif operation in ("updateMember", "removeMember") and str(path.get("user_id", "")).lower() == OWN_USER:
        case.path_parameters["user_id"] = str(uuid.UUID(int=0))
    elif operation in ("stepUp", "changePassword") and isinstance(body, dict):
        # Wrong ones would be too many soon, and a new one nobody would know.
        for name in ("password", "current_password", "new_password"):
            if isinstance(body.get(name), str):
                body[name] = PASSWORD
    elif operation == "updateOrganization" and id == OWN_ORGANIZATION and isinstance(body, dict):
        if body.get("state") in ("suspended", "deleted"):
            body["state"] = "active"
    elif operation == "updateSettings" and isinstance(body, dict) and isinstance(body.get("access_groups"), list):
        if OWN_GROUP not in body["access_groups"]:
            body["access_groups"].append(OWN_GROUP)


def hold_together(operation, body):
    if operation in ("createKey", "updateKey"):
        key(operation, body)
    elif operation == "importKeys":
        for at, one in enumerate(body.get("keys") or []):
            key(operation, one)
            if not one.get("sha256"):
                one.pop("sha256", None)
                one["key"] = f"imported{count:08}{at:04}" + (one.get("key") or "")[:64]
            else:
                one.pop("key", None)
                one["sha256"] = f"{count:060x}{at:04x}"
    elif operation in ("createRoute", "updateRoute"):
        if isinstance(body.get("guard"), dict):
            guard(body["guard"])
        if operation == "createRoute" and body.get("path"):
            body["path"] = f"/r{count}" + body["path"].rstrip("/")
        if isinstance(body.get("target"), dict) and body["target"].get("kind") == "script":
            body["target"]["source"] = script(count)
    elif operation == "createSecret":
        body["name"] = f"{count}{body.get('name') or ''}"[:128]
        body.pop("owner", None)
        if body.get("scope") != "global":
            body.update(scope="group", owner="default")
    elif operation == "createOrganization":
        body["owner_email"] = EMAIL
    elif operation == "updateSettings" and "access_groups" in body:
        body["access_groups"] = [group for group in body["access_groups"] if group in GROUPS] or ["default"]
    elif operation == "signIn":
        body.update(email=EMAIL, password=PASSWORD)
    elif operation == "acceptInvitation":
        body["password"] = PASSWORD
        body["token"] = invitation()
    elif operation == "addMember":
        # With a password there is no invitation, which is what comes next.
        body.pop("password", None)
        if body["role"] == "owner" and not SESSION:
            body["role"] = "admin"
    elif operation in ("createGroup", "updateGroup") and body.get("name"):
        body["name"] = f"{count}{body['name']}"[:63]
    elif operation == "createWorkspace" and body.get("slug"):
        body["slug"] = f"{count}{body['slug']}"[:63]
    if operation == "createOrganization" and body.get("slug"):
        body["slug"] = f"{count}{body['slug']}"[:63]


def key(operation, body):
    if body.get("scopes") is not None:
        body.pop("level", None)
    if body.get("expires_at"):
        body["expires_at"] = LATER
    if operation == "updateKey":
        if body.get("name"):
            body["name"] = f"{count} {body['name']}"[:100].strip()
        body.pop("enabled", None)
        return
    if body.get("never_expires") is not None:
        body["never_expires"] = body.get("expires_at") is None
    body["name"] = f"{count} {body.get('name') or ''}"[:100].strip()
    if body.get("group") not in GROUPS:
        body.pop("group", None)
    body.pop("workspace", None)


def guard(body):
    for name in ("workspace", "keys", "groups", "resource", "public"):
        body.pop(name, None)
    if not any(body.get(name) is not None for name in ("scope", "roles")):
        body["resource"] = "contacts"


@schemathesis.hook
def after_call(context, case, response):
    global session
    if SESSION and operation_of(case) == "signOut" and response.status_code == 204:
        session = sign_in()
    # What needs the password goes on under another cookie.
    elif SESSION and operation_of(case) in ("stepUp", "changePassword") and response.status_code == 200:
        session = re.search(COOKIE + "=([^;]+)", response.headers["set-cookie"][0]).group(1)


def sign_in():
    """The cookie of a new session of the owner's."""
    answer = requests.post(URL + "/api/session", json={"email": EMAIL, "password": PASSWORD}, timeout=10)
    return re.search(COOKIE + "=([^;]+)", answer.headers["set-cookie"]).group(1)


def step_up():
    """Enters the password again; the session goes on under another cookie."""
    global session
    answer = requests.post(URL + "/api/session/step-up", cookies={COOKIE: session}, json={"password": PASSWORD}, timeout=10)
    answer.raise_for_status()
    session = re.search(COOKIE + "=([^;]+)", answer.headers["set-cookie"]).group(1)


# Why a valid request may be refused with 400 or 422 all the same. OPERATION FIELD: MESSAGE
EXCUSED = [
    # What is named does not exist (any more).
    r"\S+ (\S+\.)?(group|workspace|groups\[\d+\]|keys\[\d+\]|access_groups\[\d+\]): no such ",
    r"(create|list)Secrets? owner: (no such |is missing|does not go with|goes with|must be the id of a key)",
    r"createOrganization owner_email: no user has this e-mail address",
    r"list\w+ cursor: is not one that a list gave out",
    # What depends on other fields, on who asks or on the time.
    r"\w+ (\S+\.)?expires_at: must be in the future",
    r"\w+ (\S+\.)?never_expires: is ",
    r"\w+ (\S+\.)?level: give either scopes or a level",
    r"\w+ (\S+\.)?name: give a name or a description",
    r"importKeys keys\[\d+\]\.key: give either key or sha256",
    r"importKeys keys\[\d+\]: is the same key as an earlier one",
    r"createOrganization owner_email: name the user who is to own the organization",
    r"(create|update)Route guard",
    r"(create|update)Route path: (is reserved for Keyrack|two parameters have the same name)",
    r"(create|update)Route cors\.(origins|credentials): (must be \*|cannot be)",
    r"(create|update)Route target\.strip_prefix: must be the beginning of the route's path",
    r"(create|update)Route target\.headers\.(host: is not sent in HTTP/2|\S+: is written by Keyrack)",
    r"get(Key)?Usage from: (must be before until|at most 3000)",
    r"getRouteMetrics from: (must be before until|at most 3000)",
    r"(create|update)Route target\.source: line \d+, column \d+: ",
    r"listRouteLogs after: does not go with cursor",
    r"getUsage : give one of group, workspace and instance",
    r"(createKey|rotateKey) : the Idempotency-Key was used for a different request",
    r"confirmSecondFactor code: is not the one that the device shows now",
    r"\w+ (new_)?password: must have at least 15 characters, and at most 1024 bytes",
    # What is counted in bytes, and text with control characters in it.
    r"\w+ (\S+\.)?metadata: must ",
    r"(create|update)Secret value: must have at most 16384 bytes",
    r"(create|update)Route target\.secret_headers\.\S+: is (written by Keyrack|said by the address)",
    r"\w+ \S+: must not hold control characters",
    r"\w+ \S+: must not be empty",
    r"addMember email: must be an e-mail address",
    r"createOrganization owner_email: must be an e-mail address",
    # What a pattern says only roughly.
    r"\w+ (\S+\.)?(ip_allowlist\[\d+\]|ip): ",
    r"\w+ (\S+\.)?(path|target\.url|host): ",
    r"(create|update)Route cors\.origins\[\d+\]: must be an origin",
    # To JSON Schema 1.0 is an integer.
    r"\w+ (\S+\.)?(overlap_seconds|expires_in|cost|limit|window_seconds|monthly_limit|quota_used|session_hours|\w+_seconds|target): invalid type: floating point",
]


def has_padding(value):
    """Whether a text in it has white space around it, which is cut off before the text is looked at: no schema can say that."""
    if isinstance(value, str):
        return value != value.strip()
    if isinstance(value, dict):
        return any(has_padding(one) for one in value.values())
    return isinstance(value, list) and any(has_padding(one) for one in value)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if type(failure).__name__ == "AcceptedNegativeData":
        return not has_padding(case.body)
    if type(failure).__name__ != "RejectedPositiveData" or response.status_code not in (400, 422):
        return True
    error = response.json()
    operation = operation_of(case)
    fields = [detail.get("field") for detail in error.get("details", [])]
    text = f"{operation} {error['message']}" if fields else f"{operation} : {error['message']}"
    if fields and fields[0] and not error["message"].startswith(fields[0] + ":"):
        text = f"{operation} {fields[0]}: {error['message'].split(': ', 1)[-1]}"
    return not any(re.match(excuse, text) for excuse in EXCUSED)


@schemathesis.check
class every_operation_succeeds:
    """Fails at the end of the run if an operation never answered 2xx: then the run says nothing about it."""

    def __init__(self):
        self.tested, self.reached = set(), set()

    def after_response(self, ctx, response, case):
        if case.method.upper() == case.operation.method.upper():
            self.tested.add(operation_of(case))
            if response.status_code < 300:
                self.reached.add(operation_of(case))

    def after_run(self, ctx):
        # A key has no account of its own, and a session is exchanged for no token. A second factor needs a device.
        own = {"revealKey", "signOut", "stepUp", "getProfile", "updateProfile", "changePassword", "listSessions", "endSession"}
        factor = {"beginSecondFactor", "confirmSecondFactor", "removeSecondFactor", "renewRecoveryCodes"}
        missing = self.tested - self.reached - factor - ({"createToken"} if SESSION else own)
        assert not missing, "never answered 2xx: " + ", ".join(sorted(missing))
