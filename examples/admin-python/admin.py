#!/usr/bin/env python3
"""A small admin client for Pilothouse that needs nothing but NATS.

Every operation is a request with a JSON body to PREFIX.v1.api.USER.OPERATION. The answer is JSON; an error is told in the headers, with its
kind and details as JSON in Pilothouse-Error. The messages are described in docs/reference.
"""

import argparse
import asyncio
import base64
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError, NoServersError
from nats.errors import TimeoutError as NatsTimeoutError

ATTEMPT = 4.0  # seconds that one host is waited for, before the request is sent again: perhaps to another one
PATIENCE = 15.0  # seconds that an answer is waited for in all
PAUSE = 0.2  # seconds after an answer that says "not now"

# As `pilothouse` itself exits.
EXIT_CODES = {"invalid": 2, "not_found": 3, "conflict": 4, "unavailable": 5, "not_permitted": 6}


class Refused(Exception):
    """An operation that was not carried out: its kind, and why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def refusal(headers: dict[str, str]) -> Refused | None:
    """The error that an answer carries, if it is one."""
    if "Nats-Service-Error-Code" not in headers:
        return None
    error = json.loads(headers.get("Pilothouse-Error", "{}"))
    kind = error.get("error", "failed")
    if kind == "invalid":
        lines = [f"{problem['at']}: {problem['message']}" for problem in error["problems"]]
        return Refused(kind, "not valid:\n  " + "\n  ".join(lines))
    if kind == "not_found":
        return Refused(kind, f"{error['what']} not found")
    return Refused(kind, error.get("message", headers.get("Nats-Service-Error", "an error without a text")))


class Pilothouse:
    """The operations, called as one user. Without a user the hosts' default user is meant."""

    def __init__(self, prefix: str = "ph", user: str | None = None) -> None:
        self.connection, self.prefix, self.user = Client(), prefix, user
        self.complaint: asyncio.Future[Refused] = asyncio.get_running_loop().create_future()

    async def connect(self, **options: Any) -> None:
        """Connects. What the server does not let through is told on the side: nobody will answer then."""

        async def heard(error: Exception) -> None:
            if "permissions violation" in str(error).lower() and not self.complaint.done():
                self.complaint.set_result(Refused("not_permitted", str(error)))

        await self.connection.connect(error_cb=heard, **options)

    async def call(self, operation: str, **request: Any) -> Any:
        """Asks, and asks again while nobody answers: a request that changes something carries an id, so it is carried out once."""
        subject = f"{self.prefix}.v1.api.{self.user or '_'}.{operation}"
        body = json.dumps({key: value for key, value in request.items() if value is not None}).encode()
        end = time.monotonic() + PATIENCE
        while True:
            asked = asyncio.ensure_future(self.connection.request(subject, body, timeout=ATTEMPT))
            await asyncio.wait({asked, self.complaint}, return_when=asyncio.FIRST_COMPLETED)
            if self.complaint.done():
                asked.cancel()
                raise self.complaint.result()
            try:
                answer = asked.result()
                refused = refusal(answer.headers or {})
            except NoRespondersError:
                refused = Refused("unavailable", f"no host answers on {subject}")
            except NatsTimeoutError:
                refused = Refused("unavailable", f"no answer on {subject}; the request may still be carried out")
            if refused is None:
                return json.loads(answer.data)
            if refused.kind != "unavailable" or time.monotonic() > end:
                raise refused
            await asyncio.sleep(PAUSE)

    async def change(self, operation: str, **request: Any) -> Any:
        """Calls an operation that changes something."""
        return await self.call(operation, request_id=uuid.uuid4().hex, **request)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What happens in the user's domains, as it happens; in everybody's, when no user was named."""
        subscription = await self.connection.subscribe(f"{self.prefix}.v1.events.*.{self.user or '*'}.*")
        await self.connection.flush()
        print("listening", file=sys.stderr, flush=True)
        async for message in subscription.messages:
            yield json.loads(message.data)
        raise Refused("unavailable", "the connection to NATS is lost")


def setting(text: str) -> tuple[str, str, Any]:
    """SECTION.KEY=VALUE, where the value is JSON or else a plain text."""
    path, equals, value = text.partition("=")
    section, dot, key = path.partition(".")
    if not (equals and dot and section and key):
        raise argparse.ArgumentTypeError(f"expected SECTION.KEY=VALUE, got {text!r}")
    try:
        return section, key, json.loads(value)
    except json.JSONDecodeError:
        return section, key, value


def configuration(args: argparse.Namespace) -> dict[str, Any]:
    """The file, if there is one, and the settings over it."""
    config = json.loads(args.file.read_text()) if args.file else {}
    for section, key, value in args.set:
        config.setdefault(section, {})[key] = value
    return config


def show(value: Any) -> None:
    print(json.dumps(value, indent=2))


async def list_domains(api: Pilothouse, args: argparse.Namespace) -> None:
    for domain in (await api.call("domain.list"))["domains"]:
        counts = domain["counts"]
        print(f"{domain['name']:<20} {domain['status']:<10} {counts['running']} of {counts['valid']} running  {domain['reason']}")


async def add(api: Pilothouse, args: argparse.Namespace) -> None:
    show(await api.change("domain.add", domain=args.domain, definition=args.definition, config=configuration(args)))


async def describe(api: Pilothouse, args: argparse.Namespace) -> None:
    show(await api.call("domain.describe", domain=args.domain))


async def reconfigure(api: Pilothouse, args: argparse.Namespace) -> None:
    show(await api.change("domain.reconfigure", domain=args.domain, config=configuration(args)))


async def diff(api: Pilothouse, args: argparse.Namespace) -> None:
    found = await api.call("domain.diff", domain=args.domain, config=configuration(args))
    for change in found["changes"]:
        for sign, side in (("-", "from"), ("+", "to")):
            if side in change:
                print(f"{sign} {change['at']}: {json.dumps(change[side])}")
    if found["problems"]:
        raise Refused("invalid", "\n  ".join(["it would be refused:", *(f"{it['at']}: {it['message']}" for it in found["problems"])]))


async def pause(api: Pilothouse, args: argparse.Namespace) -> None:
    show(await api.change("domain.pause", domain=args.domain))


async def resume(api: Pilothouse, args: argparse.Namespace) -> None:
    show(await api.change("domain.resume", domain=args.domain))


async def remove(api: Pilothouse, args: argparse.Namespace) -> None:
    show(await api.change("domain.remove", domain=args.domain))


async def instances(api: Pilothouse, args: argparse.Namespace) -> None:
    for it in (await api.call("instance.list", domain=args.domain))["instances"]:
        print(f"{it['domain'] + '/' + str(it['ordinal']):<20} {it['state']:<12} {it['health']:<14} {it['site']:<10} {it['instance_id']}")


async def events(api: Pilothouse, args: argparse.Namespace) -> None:
    async for event in api.events():
        if args.domain in (None, event["domain"]["name"]):
            print(json.dumps(event), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A small admin client for Pilothouse.", epilog="Exit codes are those of `pilothouse`.")
    parser.add_argument("--nats", metavar="URL", default=os.environ.get("PILOTHOUSE_NATS", "nats://127.0.0.1:4222"))
    parser.add_argument("--creds", metavar="FILE", type=Path, help="credentials for the NATS server")
    parser.add_argument("--prefix", metavar="NAME", default="ph", help="first token of all subjects")
    parser.add_argument("--user", metavar="NAME", help="whose domains are meant")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(run: Any, about: str, domain: str | None = None, config: bool = False) -> argparse.ArgumentParser:
        it = verbs.add_parser(run.__name__.removesuffix("_domains"), help=about, description=about)
        it.set_defaults(run=run)
        if domain:
            it.add_argument("domain", metavar="DOMAIN", nargs=None if domain == "one" else "?")
        if config:
            it.add_argument("file", metavar="FILE", nargs="?", type=Path, help="the configuration, as JSON")
            it.add_argument("--set", metavar="SECTION.KEY=VALUE", action="append", default=[], type=setting)
        return it

    verb(list_domains, "lists your domains")
    verb(add, "adds a domain", "one", config=True).add_argument("--definition", metavar="NAME", help="the template that it is made from")
    verb(describe, "tells all about one domain", "one")
    verb(reconfigure, "changes the configuration of a domain", "one", config=True)
    verb(diff, "shows what a reconfigure would change", "one", config=True)
    verb(pause, "keeps the engine of a domain from asking for anything", "one")
    verb(resume, "lets the engine of a domain ask again", "one")
    verb(remove, "ends a domain: first its instances, then itself", "one")
    verb(instances, "lists the instances of one domain, or of all", "perhaps")
    verb(events, "prints what happens, as it happens, a line of JSON each", "perhaps")
    return parser.parse_args()


def name_in(creds: Path) -> str:
    """Who credentials are for: the name in their token. The server lets its bearer hear answers only below it."""
    token = creds.read_text().split("-----BEGIN NATS USER JWT-----")[1].split()[0]
    claims = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["name"]


async def main() -> int:
    args = arguments()
    # One attempt: whoever waits at a terminal would rather know.
    once = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0.2}
    options: dict[str, Any] = {"servers": args.nats, "name": "admin.py", **once}
    if args.creds:
        try:
            name = name_in(args.creds)
        except (OSError, LookupError, ValueError) as error:
            print(f"admin.py: credentials {args.creds}: {error}", file=sys.stderr)
            return EXIT_CODES["invalid"]
        args.user = args.user or name
        options |= {"user_credentials": str(args.creds), "inbox_prefix": f"_INBOX.{name}".encode()}
    api = Pilothouse(args.prefix, args.user)
    try:
        await api.connect(**options)
    except (NoServersError, OSError) as error:
        print(f"admin.py: NATS server at {args.nats}: {error}", file=sys.stderr)
        return EXIT_CODES["unavailable"]
    except NatsError as error:
        print(f"admin.py: NATS server at {args.nats} does not let us in: {error}", file=sys.stderr)
        return EXIT_CODES["not_permitted"]
    try:
        await args.run(api, args)
        return 0
    except Refused as error:
        print(f"admin.py: {error}", file=sys.stderr)
        return EXIT_CODES.get(error.kind, 1)
    except (OSError, json.JSONDecodeError) as error:
        print(f"admin.py: {args.file or 'the answer'}: {error}", file=sys.stderr)
        return EXIT_CODES["invalid"]
    finally:
        await api.connection.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
