"""A mail server on the loopback, with STARTTLS or TLS and a login, that keeps every mail as a line of JSON."""

import json
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

folder, port, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
USER, PASSWORD = b"bk", b"canary-mail-password"


def say(**what):
    with open(f"{folder}/mails", "a") as file:
        file.write(json.dumps(what) + "\n")


class Keep:
    """Takes every mail; in the mode `busy` only from the second try on."""

    busy = 1 if mode == "busy" else 0

    async def handle_MAIL(self, server, session, envelope, address, options):
        if self.busy:
            self.busy -= 1
            say(refused=True)
            return "451 4.7.1 come back later"
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        say(
            sender=envelope.mail_from,
            to=envelope.rcpt_tos,
            data=envelope.content.decode(),
            encrypted=session.ssl is not None or mode == "tls",
            authenticated=bool(session.authenticated),
            hello=session.host_name,
        )
        return "250 kept"


def login(server, session, envelope, mechanism, data):
    say(login=mechanism, encrypted=session.ssl is not None or mode == "tls")
    if (data.login, data.password) == (USER, PASSWORD):
        return AuthResult(success=True)
    # As some servers do: repeats what it was told.
    return AuthResult(success=False, handled=False, message=f"535 5.7.8 not {data.password.decode()}")


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
options = {"hostname": "127.0.0.1", "port": port}
if mode in ("starttls", "busy"):
    options |= {"tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": login}
elif mode == "tls":
    options |= {"ssl_context": context, "auth_required": True, "auth_require_tls": False, "authenticator": login}
elif mode == "bare":
    # Whoever sits before a server can take STARTTLS away and still ask for the password.
    options |= {"auth_require_tls": False, "authenticator": login}
server = Controller(Keep(), **options)
server.start()
print("ready", flush=True)
sys.stdin.read()
server.stop()
