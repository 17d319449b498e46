"""The Lua files: which keys they use, and how they are put together."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from realtime.store.scripts import load

LUA = sorted(files("realtime.store").joinpath("lua").iterdir(), key=lambda file: file.name)
SCRIPTS = ("accept", "adopt", "due", "expire", "forget", "read", "recent_since")

#: The key that a script passes to a command.
_KEY = re.compile(r"call\('(?!TIME|PUBLISH)\w+', ([\w.]+)")
#: A local name of a key.
_ALIAS = re.compile(r"\blocal (\w+) = KEYS\[|\bfor \w+, (\w+) in ipairs\(KEYS\)")


@pytest.mark.parametrize("file", LUA, ids=lambda file: file.name)
def test_a_script_uses_no_key_but_those_that_it_is_given(file):
    text = file.read_text()
    aliases = {name for match in _ALIAS.findall(text) for name in match if name}
    assert set(_KEY.findall(text)) <= {"KEYS"} | aliases
    assert "PREFIX .." not in text.replace("GROUP_PREFIX ..", ""), (
        "the script makes the name of a key"
    )


def test_the_documented_permissions_allow_every_command_of_the_scripts():
    text = (Path(__file__).parents[3] / "SECURITY.md").read_text().replace("\\\n", " ")
    (rules,) = re.findall(r"ACL SETUSER realtime (.*)", text)
    allowed = {rule[1:].upper() for rule in rules.split() if rule.startswith("+")}
    used = {name for file in LUA for name in re.findall(r"call\('(\w+)'", file.read_text())}
    assert used - allowed == set()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_its_includes_and_its_constants_in_place(name):
    source = load(f"{name}.lua").source
    assert "-- include" not in source
    code = re.sub(r"--.*", "", source)
    assert re.findall(r"\b(?:AT|RANK)\.\w+|\b[A-Z]+_TTL\b", code) == []


def test_every_file_is_a_script_or_included_in_one():
    included = {name for file in LUA for name in re.findall(r"-- include (\S+)", file.read_text())}
    assert {file.name for file in LUA} == included | {f"{name}.lua" for name in SCRIPTS}
