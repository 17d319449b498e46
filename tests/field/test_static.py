"""What ships of the JavaScript client, under every storage that projects collect it with."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.management import call_command
from django.template import Context, Template
from django.test import override_settings

from scripts.node import find_node
from tests.publishing import fresh_id, publish_change, token_for

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "static"
ENTRIES = ["client.js", "task-progress.js"]


class Aggregating(ManifestStaticFilesStorage):
    """Rewrites the addresses in JavaScript's imports, as an option of Django does."""

    support_js_module_import_aggregation = True


class Hashed(ManifestStaticFilesStorage):
    """Keeps the hashed files only, as whitenoise does with KEEP_ONLY_HASHED_FILES."""

    keep_only_hashed = True

    def post_process(self, *args: Any, **options: Any) -> Any:
        for name, hashed, processed in super().post_process(*args, **options):
            if processed and hashed and name != hashed:
                self.delete(name)
            yield name, hashed, processed


class AggregatingHashed(Hashed, Aggregating):
    """Both."""


@pytest.mark.parametrize(
    "storage", [ManifestStaticFilesStorage, Aggregating, Hashed, AggregatingHashed]
)
def test_each_entry_is_one_file_that_every_storage_collects(
    storage: type[ManifestStaticFilesStorage], tmp_path: Path
) -> None:
    storages = {
        "staticfiles": {"BACKEND": f"{__name__}.{storage.__name__}"},
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    }
    with override_settings(
        STORAGES=storages, STATIC_ROOT=tmp_path, STATICFILES_DIRS=[STATIC], STATIC_URL="/static/"
    ):
        call_command("collectstatic", interactive=False, verbosity=0)
        source = "{% load realtime %}{% realtime_script %}{% realtime_script 'client' %}"
        page = Template(source).render(Context({}))
    urls = re.findall(r'src="/static/([^"]+)"', page)
    assert [re.sub(r"\.[0-9a-f]{12}\.", ".", url) for url in urls] == [
        "realtime/task-progress.js",
        "realtime/client.js",
    ]
    for url in urls:
        assert url not in ENTRIES
        text = (tmp_path / url).read_text(encoding="utf-8")
        # Whole in itself: nothing that is hashed, or missing, beside it.
        name = re.sub(r"\.[0-9a-f]{12}\.", ".", url)
        assert text == (STATIC / name).read_text(encoding="utf-8")
    manifest = json.loads((tmp_path / "staticfiles.json").read_text(encoding="utf-8"))
    assert {f"realtime/{entry}" for entry in ENTRIES} <= set(manifest["paths"])


@pytest.mark.parametrize("entry", ENTRIES)
def test_nothing_in_a_bundle_passes_for_an_import_or_a_source_map(entry: str) -> None:
    text = (STATIC / "realtime" / entry).read_text(encoding="utf-8")
    storage = Aggregating(location="/nowhere", base_url="/static/")
    patterns = [pattern for pattern, _template in storage._patterns["*.js"]]
    assert len(patterns) == 5
    found = [match[0] for pattern in patterns for match in pattern.finditer(text)]
    assert found == []
    assert "sourceMappingURL" not in text
    comments = re.findall(r"/\*.*?\*/", text, re.DOTALL)
    assert len(comments) == 1, "the licence alone"


def test_a_wheel_contains_the_bundles_and_their_types_and_no_sources() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    files = [*ENTRIES, *(entry.replace(".js", ".d.ts") for entry in ENTRIES)]
    expected = {f"static/realtime/{name}": f"realtime/static/realtime/{name}" for name in files}
    assert included == expected


@pytest.mark.integration
def test_the_documented_script_for_node_shows_the_ending_and_exits(
    service: Any, tmp_path: Path
) -> None:
    [script] = re.findall(
        r"^```javascript\n(.*?)^```$",
        (ROOT / "docs/client.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    script = script.replace("http://127.0.0.1:8000", service.url)
    script = script.replace("ws://127.0.0.1:8000/realtime/ws/", service.ws_url)
    file = tmp_path / "watch.mjs"
    file.write_text(script.replace('"./static/', f'"{ROOT}/static/'))
    task_id = fresh_id()
    publish_change(task_id, "FAILURE", owner="somebody")
    node = find_node()
    if node is None:
        pytest.skip("there is no Node 22 or newer")
    token = token_for(service, f"task:{task_id}")
    done = subprocess.run(
        [node, file, task_id, token], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "FAILURE\n"), done.stderr
