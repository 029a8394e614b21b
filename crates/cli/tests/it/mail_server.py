"""A mail server: `mail_server.py PORT plain|starttls|tls [CERTIFICATE KEY]`, at port 0 a free one.

With TLS it takes letters from `keyrack` with the password `p@ss word` alone. Says its port, then each letter, as lines of JSON.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


def say(value):
    print(json.dumps(value), flush=True)


class Handler:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None,
            "authenticated": session.authenticated,
            "headers": dict(message.items()),
            "text": message.get_content(),
        })
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"keyrack", b"p@ss word"))


async def main():
    port, mode = int(sys.argv[1]), sys.argv[2]
    context = None
    if mode != "plain":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
    options = {}
    if mode == "starttls":
        options = {"tls_context": context, "require_starttls": True}
    if mode != "plain":
        options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": mode == "starttls"}
    serve = asyncio.get_running_loop().create_server
    server = await serve(lambda: SMTP(Handler(), **options), "127.0.0.1", port, ssl=context if mode == "tls" else None)
    say({"port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


asyncio.run(main())
