"""The bootstrap says the machine's pip configuration in uv's words."""

from __future__ import annotations

from scripts.bootstrap import parse_pip_config, translate_pip_config


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
