"""The bootstrap takes the machine as it is, and says precisely what it lacks."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from scripts.bootstrap import (
    BootstrapError,
    check_python,
    install_ensurepip,
    parse_pip_config,
    translate_pip_config,
)


def test_the_environment_goes_before_the_files() -> None:
    listing = "\n".join(
        [
            ":env:.index-url='file:///from/the/environment'",
            "global.index-url='file:///from/a/file'",
            "global.find-links='/one\\n/two'",
            "install.no-index='true'",
            "freeze.timeout='3'",
        ]
    )
    assert parse_pip_config(listing) == {
        "index-url": "file:///from/the/environment",
        "find-links": "/one\n/two",
        "no-index": "true",
    }


def test_an_index_certificates_and_folders_are_translated() -> None:
    pip = {
        "index-url": "file:///main",
        "extra-index-url": "file:///more\nfile:///most",
        "find-links": "/one\n/two",
        "cert": "/etc/ca.pem",
    }
    assert translate_pip_config(pip) == {
        "UV_DEFAULT_INDEX": "file:///main",
        "UV_INDEX": "file:///more file:///most",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/one,/two",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }


def test_nothing_said_to_pip_is_nothing_said_to_uv() -> None:
    assert translate_pip_config(parse_pip_config("")) == {}


def test_a_python_that_is_too_old_is_named_with_the_remedy() -> None:
    check_python((3, 11))
    with pytest.raises(BootstrapError, match=r"3\.11 or newer .* is 3\.9(?s:.*)make PYTHON="):
        check_python((3, 9))


def test_who_may_not_install_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    package = f"python3.{sys.version_info.minor}-venv"
    with pytest.raises(BootstrapError, match=f"sudo apt-get install {package}"):
        install_ensurepip()
