"""The documentation, compared with the code."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import pytest

import realtime
from realtime import checks, deployment, routing, urls
from realtime.conf import Settings
from realtime.core import codes, frames, states, topics
from realtime.core.position import Position
from realtime.core.status import FIELDS
from realtime.web import checks as web_checks
from realtime.web.access.limits import limits

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("samples/*.md")])
FROM_ASYNCRESULT = ROOT / "tests" / "integration" / "test_from_asyncresult.py"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next heading of its level or above."""
    level = heading.split(" ")[0]
    _, _, rest = f"\n{page}".partition(f"\n{heading}\n")
    assert rest, f"no heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The rows of all tables in a text, without their heads."""
    found: list[list[str]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|") and not _is_head(lines, number):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            found.append([cell.strip() for cell in cells])
    return found


def _is_head(lines: list[str], number: int) -> bool:
    return any(re.fullmatch(r"[|\- ]+", line) for line in lines[number : number + 2])


def bare(cell: str) -> str:
    return cell.strip("`")


def table(page: str, heading: str) -> dict[str, list[str]]:
    """The rows of a section's tables by their first cell."""
    return {bare(first): rest for first, *rest in rows(section(read(page), heading))}


def named_tests(file: Path) -> set[str]:
    """The names of a file's tests."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for node in tree.body if isinstance(node, kinds)}
    return {name for name in names if name.startswith("test_")}


# The protocol


def test_every_state_is_described_with_whether_it_is_an_ending() -> None:
    known = {
        value for name, value in vars(states).items() if name.isupper() and isinstance(value, str)
    }
    described = table("docs/protocol.md", "## States")
    assert set(described) == known
    assert {state for state, (ends, _) in described.items() if ends == "yes"} == states.TERMINAL


def test_reserved_states_are_those_that_nothing_publishes() -> None:
    described = table("docs/protocol.md", "## States")
    reserved = {state for state, (_, when) in described.items() if "reserved" in when}
    assert reserved == {state for state in described if not is_used(state)}


def is_used(name: str) -> bool:
    """Whether anything that runs in a worker or a web process names it."""
    files = [*(ROOT / "realtime/worker").glob("*.py"), *(ROOT / "realtime/web").glob("*.py")]
    return any(re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")) for file in files)


def test_every_key_of_a_status_is_described_in_order() -> None:
    assert tuple(table("docs/protocol.md", "## The status")) == FIELDS


def test_every_error_code_is_described() -> None:
    described = table("docs/protocol.md", "## Error codes")
    assert set(described) == set(codes.ErrorCode)
    reserved = {code for code, (_, meaning) in described.items() if "reserved" in meaning}
    assert reserved == {c for c in codes.ErrorCode if not is_used(f"ErrorCode.{c.name}")}


def test_every_close_code_is_described_with_its_policy() -> None:
    described = table("docs/protocol.md", "## Close codes")
    yes_or_no = {True: "yes", False: "no"}
    assert {int(code): reconnects for code, (reconnects, _, _) in described.items()} == {
        int(code): yes_or_no[code.reconnect] for code in codes.CloseCode
    }
    assert {int(code) for code, (_, sent, _) in described.items() if sent == "yes"} == {
        int(code) for code in codes.CloseCode if is_used(f"CloseCode.{code.name}")
    }


def test_every_kind_of_topic_is_described() -> None:
    described = table("docs/protocol.md", "## Topics")
    assert {name.partition(":")[0] for name in described} == set(topics.KINDS)
    assert f"user:{topics.ME}" in described
    for name in described:
        topics.Topic.parse(name.replace("<id>", "x"))


def test_every_frame_of_a_client_is_described_as_it_is_read() -> None:
    described = table("docs/protocol.md", "## Frames of a client")
    parsed = [frames.parse(example.replace("…", "x")) for example in described]
    assert {type(frame) for frame in parsed} == set(get_args(frames.ClientFrame))
    answers = {bare(answer) for answer, _ in described.values()}
    assert answers <= {example["type"] for example in server_examples()}


def server_examples() -> list[dict[str, object]]:
    text = section(read("docs/protocol.md"), "## Frames of the server")
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    return [json.loads(line) for line in block.splitlines()]


def test_every_frame_of_the_server_is_described_as_it_is_written() -> None:
    place = Position("k3x9", 7)
    settings = Settings()
    listed = frames.Listed(312, "…")
    written = [
        frames.welcome(
            now='"2026-11-28T08:00:00.000Z"',
            ping=settings.PING_INTERVAL,
            limits=limits(settings),
        ),
        frames.store(available=False),
        frames.subscribed(1, "task:…", place, [], recovered=False, expires_in=840),
        frames.subscribed(1, "user:me", place, [], recovered=False, listed=listed),
        frames.subscribed(1, "task:…", place, [], recovered=True),
        frames.event("task:…", Position("k3x9", 8), "{}"),
        frames.event("task:…", Position("k3x9", 12), "{}", merged=3),
        frames.snapshot("task:…", Position("n0e2", 3), []),
        frames.snapshot("user:me", Position("n0e2", 3), [], listed),
        frames.page(2, "user:me", [], None),
        frames.unsubscribed(2, "task:…"),
        frames.withdrawn("task:…", codes.ErrorCode.FORBIDDEN, "…"),
        frames.cancelled(3, "…"),
        frames.pong(4),
        frames.error(codes.ErrorCode.NOT_FOUND, "…", frame_id=1),
        frames.error(codes.ErrorCode.LIMIT, "…", frame_id=1, retry_after=12),
        frames.closing(codes.CloseCode.BAD_REQUESTS, "…"),
    ]
    assert server_examples() == [json.loads(text) for text in written]


def test_no_other_frame_is_written() -> None:
    written = set(re.findall(r'"type"\\?"?: ?"(\w+)"', read("realtime/core/frames.py")))
    assert written == {example["type"] for example in server_examples()}


def test_every_http_request_is_described() -> None:
    described = table("docs/protocol.md", "## HTTP")
    paths = {re.split(r"[ `]+", request)[1] for request in described}
    known = {f"/realtime/{each.pattern}" for each in urls.urlpatterns if each.name}
    known = {path.replace("<str:task_id>", "<id>").replace("<str:", "<") for path in known}
    assert paths == known


def test_the_address_of_the_websocket_is_described() -> None:
    (pattern,) = routing.websocket_urlpatterns
    assert f"`/{pattern.pattern}`" in section(read("docs/protocol.md"), "## Connecting")


# The architecture

#: Terms that the glossary replaced, and verbs that do not describe what a process does.
FORMER_TERMS = re.compile(
    r"""
    \b (?: marks? | words? | broker | turnstile ) \b          # digest, change, store
    | realtime:(?: place | tasks ):                           # head, list
    | \b run's\ token | \b token\ of\ (?: a | the )\ run \b   # run_id
    | \b (?: says? | said | tells? | told | hears? | heard | looks? | settled? | whoever ) \b
    """,
    re.VERBOSE,
)


def names_in_code() -> set[str]:
    """The names in the package's Python, Lua and JavaScript, without comments and strings."""
    names = set()
    for file in (ROOT / "realtime").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names |= {getattr(node, key, None) for key in ("id", "attr", "arg", "name")}
    for folder, comments in (
        ("realtime/store/lua", r"--.*"),
        ("static/realtime/src", r"^ *(/?\*|//).*"),
    ):
        for file in (ROOT / folder).iterdir():
            code = re.sub(comments, "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            names |= set(re.findall(r"\w+", re.sub(r"\"[^\"\n]*\"|'[^'\n]*'", "", code)))
    return names


def test_the_glossary_names_what_the_code_names() -> None:
    glossary = table("docs/architecture.md", "## Glossary")
    named = {name for *_, cell in glossary.values() for name in re.findall(r"`(\w+)`", cell)}
    assert len(named) >= len(glossary) > 40
    assert named - names_in_code() == set()


def test_the_architecture_uses_the_terms_of_the_glossary() -> None:
    assert FORMER_TERMS.findall(read("docs/architecture.md")) == []


def test_the_files_of_the_architecture_exist() -> None:
    """A name without its folder is in `realtime`, in one of its folders, or in the client."""
    page = read("docs/architecture.md")
    named = set(re.findall(r"`(?:\w+/)*(?:\w|-)+\.(?:py|lua|mjs|json|md|toml)`", page))
    folders = [
        ROOT,
        *(ROOT / "realtime").rglob("*"),
        ROOT / "realtime",
        ROOT / "static/realtime/src",
    ]
    lost = {name for name in named if not any((each / bare(name)).is_file() for each in folders)}
    assert lost == set()


# Settings


def test_every_setting_is_described_with_its_default() -> None:
    described = {bare(key): bare(rest[0]) for key, *rest in rows(read("docs/settings.md")) if rest}
    settings = {key: value for key, value in described.items() if key.isupper()}
    defaults = {field.name: field.default for field in fields(Settings)}
    assert {key: ast.literal_eval(value) for key, value in settings.items()} == defaults


def test_every_system_check_is_described() -> None:
    files = (Path(module.__file__) for module in (checks, deployment, web_checks))
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    described = set(table("docs/settings.md", "## Checks"))
    assert described == set(re.findall(r'id="(realtime\.\w+)"', source))


# Python


def test_every_public_name_is_described() -> None:
    described = table("docs/install.md", "## Public names")
    names = [re.split(r"\W", name.removeprefix("realtime."))[0] for name in described]
    assert sorted(names) == sorted(realtime.__all__)


def test_every_row_from_asyncresult_has_its_test() -> None:
    named = [bare(row[-1]) for row in rows(read("docs/from-asyncresult.md"))]
    assert set(named) == named_tests(FROM_ASYNCRESULT)


# Attacks


def test_every_attack_is_listed_with_its_test_and_no_other_is() -> None:
    listed = {
        name
        for *_, tests in rows(read("docs/security.md"))
        for name in re.findall(r"`([\w/]+\.py::test_\w+)`", tests)
    }
    files = {file: ROOT / "tests" / file for file in {name.partition("::")[0] for name in listed}}
    there = {f"{file}::{test}" for file, path in files.items() for test in named_tests(path)}
    assert listed <= there
    attacks = [*(ROOT / "tests/attacks").glob("test_*.py"), ROOT / "tests/browser/test_attacks.py"]
    for file in attacks:
        name = file.relative_to(ROOT / "tests").as_posix()
        assert {f"{name}::{test}" for test in named_tests(file)} <= listed


def test_every_test_in_the_list_of_attacks_exists() -> None:
    assert {int(row[0]) for row in rows(read("docs/security.md"))} == set(range(1, 21))


# OpenAPI


def test_openapi_describes_every_request_and_nothing_else() -> None:
    described = json.loads(read("docs/openapi.json"))
    known = {str(each.pattern) for each in urls.urlpatterns if each.name}
    known = {pattern.replace("<str:", "{").replace(">", "}") for pattern in known}
    assert {path.removeprefix("/") for path in described["paths"]} == known
    methods = {
        f"/realtime{path}".replace("{task_id}", "<id>").replace("{topic}", "<topic>"): set(
            operations
        )
        - {"parameters"}
        for path, operations in described["paths"].items()
    }
    for request in table("docs/protocol.md", "## HTTP"):
        method, path = re.split(r"[ `]+", request)[:2]
        assert methods.get(path, {method.lower()}) == {method.lower()}


def test_openapi_describes_a_status_an_error_and_a_topic_as_they_are() -> None:
    schemas = json.loads(read("docs/openapi.json"))["components"]["schemas"]
    status, error = schemas["Status"], schemas["Error"]["properties"]["error"]
    assert tuple(status["properties"]) == tuple(status["required"]) == FIELDS
    assert set(error["properties"]["code"]["enum"]) == set(codes.ErrorCode)
    kinds = re.fullmatch(r"\^\((.*?)\):.*", schemas["Topic"]["pattern"])
    assert kinds is not None
    assert set(kinds[1].split("|")) == set(topics.KINDS)


def blocks(page: str, file: str) -> str:
    """The block of Python that names its file in its first line."""
    (block,) = re.findall(rf"```python\n(# {re.escape(file)}\n.*?)```", read(page), re.DOTALL)
    return str(block)


TASKS = """
from celery import shared_task
from realtime import track

@shared_task
def import_rows(count):
    for _ in track(range(count), message="importing"):
        pass
"""
CONSUMER_TEST = """
import asyncio

from asgiref.sync import sync_to_async
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from consumers import StateConsumer
from django.urls import path
from test_tasks import ImportTests as Base, import_rows

class User:
    def __init__(self, may):
        self.may = may

    async def ahas_perm(self, permission):
        return self.may and permission == "realtime.view_task"

class ConsumerTests(Base):
    async def test_a_consumer_of_the_projects_own_receives_the_ending(self):
        router = URLRouter([path("state/<str:task_id>/", StateConsumer.as_asgi())])
        client = WebsocketCommunicator(router, "/state/a-task/")
        client.scope["user"] = User(may=False)
        self.assertEqual((await client.connect())[0], False)
        client = WebsocketCommunicator(router, "/state/a-task/")
        client.scope["user"] = User(may=True)
        await client.connect()
        await sync_to_async(import_rows.apply)(args=[3], task_id="a-task")
        states = [(await client.receive_json_from())["state"]]
        while states[-1] != "SUCCESS":
            states.append((await client.receive_json_from())["state"])
        self.assertEqual(states[0], "STARTED")
        await client.disconnect()
"""


def test_the_unit_test_and_the_consumer_of_the_install_page_work(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "consumers.py").write_text(blocks("docs/install.md", "consumers.py"))
    (tmp_path / "test_tasks.py").write_text(blocks("docs/install.md", "test_tasks.py"))
    (tmp_path / "test_consumers.py").write_text(CONSUMER_TEST)
    (tmp_path / "settings.py").write_text('INSTALLED_APPS = ["realtime"]\nSECRET_KEY = "x"\n')
    command = [sys.executable, "-W", "error", "-m", "django", "test", "--settings", "settings"]
    path = f"{tmp_path}:{ROOT}"
    run = subprocess.run(
        [*command, "--pythonpath", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Ran 3 tests" in run.stderr


# Pages


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    yield from re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_has_a_target(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = unquote(link).partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_named_in_the_readme() -> None:
    named = {link.partition("#")[0] for link in links(ROOT / "README.md")}
    assert {str(page.relative_to(ROOT)) for page in PAGES} - {"README.md"} <= named


def test_the_commands_of_the_pages_are_targets_of_the_makefile() -> None:
    makefile = read("Makefile")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        commands = re.findall(r"(?:`|^)make (\w+)", text, re.MULTILINE)
        assert set(commands) <= set(phony.split()), page.name
    assert {"run", "test", "check", "fix"} <= set(re.findall(r"make (\w+)", read("README.md")))


def test_the_variables_of_the_readme_are_those_that_run_reads() -> None:
    named = set(re.findall(r"`([A-Z_]+)`", section(read("README.md"), "## Try it")))
    assert named == {"HOST", "PORT", "REDIS_URL", "WORKERS", "DATA_DIR"}
    source = read("project/run.py")
    assert all(f'"{name}"' in source for name in named)
