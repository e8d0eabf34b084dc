"""A mail server on loopback: as much of SMTP as a client needs to hand mails over."""

import base64
import email
import email.policy
import socketserver
import threading


class MailServer:
    """Keeps the mails that it takes; can ask for TLS and a password, and refuse."""

    def __init__(self, tls=None, implicit=False, login=None):
        """`tls` is a server's ssl context, offered by STARTTLS or from the first byte on; `login` a pair."""
        self.tls, self.implicit, self.login = tls, implicit, login
        self.mails, self.refuse, self.sessions = [], lambda to: None, []
        outer = self

        class Session(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    outer.session(self.request)
                except OSError:
                    pass

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def session(self, sock):
        if self.tls and self.implicit:
            sock = self.tls.wrap_socket(sock, server_side=True)
        seen = {"tls": self.tls is not None and self.implicit, "login": None}
        self.sessions.append(seen)
        lines, to = sock.makefile("rb"), []

        def say(text):
            sock.sendall(text.encode() + b"\r\n")

        say("220 mailbox ESMTP")
        while line := lines.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            match verb.upper():
                case "EHLO":
                    say("250-mailbox")
                    if self.tls and not seen["tls"]:
                        say("250-STARTTLS")
                    if self.login:
                        say("250-AUTH PLAIN")
                    say("250 SIZE 1000000")
                case "STARTTLS":
                    say("220 go ahead")
                    sock = self.tls.wrap_socket(sock, server_side=True)
                    lines, seen["tls"] = sock.makefile("rb"), True
                case "AUTH":
                    _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                    seen["login"] = (user, password)
                    say("235 welcome" if seen["login"] == self.login else "535 who are you")
                case "RCPT":
                    address = rest.partition("<")[2].partition(">")[0]
                    answer = "530 log in first" if self.login and seen["login"] != self.login else self.refuse(address)
                    to.append(address)
                    say(answer or "250 fine")
                case "DATA":
                    say("354 go on")
                    text = b""
                    while (part := lines.readline()) != b".\r\n":
                        assert len(part) <= 1000 and part.isascii(), part[:100]
                        text += part[1:] if part.startswith(b".") else part
                    self.mails.append((to, email.message_from_bytes(text, policy=email.policy.default)))
                    to = []
                    say("250 taken")
                case "QUIT":
                    say("221 bye")
                    return
                case _:
                    say("250 fine")

    def to(self, address):
        """The mails that an address got."""
        return [mail for to, mail in self.mails if to == [address]]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
