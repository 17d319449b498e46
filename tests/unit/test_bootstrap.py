"""The bootstrap works with the machine as it is, and names precisely what is missing."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts import bootstrap
from scripts.bootstrap import (
    BootstrapError,
    check_python,
    install_ensurepip,
    parse_pip_config,
    translate_pip_config,
)


def test_the_environment_overrides_pips_files() -> None:
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


def test_without_options_for_pip_there_are_none_for_uv() -> None:
    assert translate_pip_config(parse_pip_config("")) == {}


def test_a_python_that_is_too_old_is_named_with_the_remedy() -> None:
    check_python((3, 11))
    with pytest.raises(BootstrapError, match=r"3\.11 or newer .* is 3\.9(?s:.*)make PYTHON="):
        check_python((3, 9))


def test_without_the_right_to_install_the_packages_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    package = f"python3.{sys.version_info.minor}-venv"
    with pytest.raises(BootstrapError, match=f"sudo apt-get install {package}"):
        install_ensurepip()


# When .venv is made anew. The interpreters are shell scripts, and nothing is installed.


class Checkout:
    """A folder with locks, and with a shell script as its Python, which `upgrade` replaces."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.venv = folder / ".venv"
        self.requirements = folder / "requirements"
        self.requirements.mkdir()
        self.system = folder / "python3"
        self.done: list[str] = []
        for name in ("runtime", "dev", "bench"):
            self.change_lock(name)
        self.upgrade("cpython-311")
        monkeypatch.setattr(bootstrap, "VENV", self.venv)
        monkeypatch.setattr(bootstrap, "PYTHON", self.venv / "bin" / "python")
        monkeypatch.setattr(bootstrap, "REQUIREMENTS", self.requirements)
        monkeypatch.setattr(bootstrap, "base_python", lambda: str(self.system))
        monkeypatch.setattr(bootstrap, "make_venv", self._make_venv)
        monkeypatch.setattr(bootstrap, "install", self.done.append)

    def change_lock(self, name: str) -> None:
        (self.requirements / f"{name}.lock").write_text(os.urandom(8).hex())

    def upgrade(self, tag: str) -> None:
        """Let apt install another python3 over this one."""
        self.system.unlink(missing_ok=True)
        self.system.write_text(f"#!/bin/sh\necho {tag} linux-x86_64\n")
        self.system.chmod(0o755)

    def _make_venv(self) -> None:
        self.done.append("venv")
        (self.venv / "bin").mkdir(parents=True)
        (self.venv / "bin" / "python").symlink_to(self.system)

    def ensure(self, *wanted: str) -> list[str]:
        """Run the first step of a command; return what it changed."""
        self.done.clear()
        bootstrap.ensure(["runtime", *wanted])
        return [*self.done]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let a process lock .venv, as `project.processes.lock_environment` does."""
        folder = os.open(self.venv, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_SH)
            yield
        finally:
            os.close(folder)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    return Checkout(tmp_path, monkeypatch)


def test_the_environment_is_made_once_for_each_lock(checkout: Checkout) -> None:
    assert checkout.ensure() == ["venv", "runtime"]
    assert checkout.ensure() == []
    assert checkout.ensure("dev") == ["dev"]
    assert checkout.ensure("dev") == []
    assert checkout.ensure() == [], "the packages of the tests include all that `make run` needs"


def test_a_python_that_apt_upgrades_while_it_installs_venv_changes_nothing(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The bootstrap still runs in the old Python, which has another `sys.version`.
    monkeypatch.setattr(sys, "version", "3.11.2 (main, before)")
    assert checkout.ensure("dev") == ["venv", "dev"]
    monkeypatch.setattr(sys, "version", "3.11.2 (main, after)")
    assert checkout.ensure("dev") == []
    assert checkout.ensure() == []


def test_after_a_change_of_python_the_environment_is_made_anew_with_all_its_packages(
    checkout: Checkout,
) -> None:
    checkout.ensure("dev")
    checkout.upgrade("cpython-313")
    checkout.venv.joinpath("bin/python").unlink()
    checkout.venv.joinpath("bin/python").write_text("#!/bin/sh\necho cpython-311 linux-x86_64\n")
    checkout.venv.joinpath("bin/python").chmod(0o755)
    assert checkout.ensure() == ["venv", "dev"]
    assert checkout.ensure("dev") == []


def test_after_a_removal_of_python_the_environment_is_made_anew(checkout: Checkout) -> None:
    checkout.ensure()
    checkout.venv.joinpath("bin/python").unlink()
    checkout.venv.joinpath("bin/python").symlink_to("/nowhere/python3")
    assert checkout.ensure() == ["venv", "runtime"]


def test_after_a_change_of_a_lock_the_environment_is_made_anew_with_all_its_packages(
    checkout: Checkout,
) -> None:
    checkout.ensure("dev")
    checkout.change_lock("runtime")
    checkout.change_lock("dev")
    assert checkout.ensure() == ["venv", "dev"]
    assert checkout.ensure("dev") == []


def test_a_lock_that_is_not_wanted_is_left_to_its_own_command(checkout: Checkout) -> None:
    checkout.ensure("dev")
    checkout.change_lock("dev")
    checkout.change_lock("bench")
    assert checkout.ensure() == []


def test_an_environment_whose_installation_was_interrupted_is_made_anew(checkout: Checkout) -> None:
    checkout.ensure()
    (checkout.venv / "stamp-runtime").unlink()
    assert checkout.ensure() == ["venv", "runtime"]


@pytest.mark.parametrize("change", [Checkout.change_lock, Checkout.upgrade])
def test_the_environment_is_not_made_anew_while_a_process_uses_it(
    checkout: Checkout, change: Callable[[Checkout, str], None]
) -> None:
    checkout.ensure("dev")
    checkout.venv.joinpath("bin/python").unlink()
    shutil.copy(checkout.system, checkout.venv / "bin/python")
    change(checkout, "runtime" if change is Checkout.change_lock else "cpython-313")
    with checkout.in_use():
        with pytest.raises(BootstrapError, match=r"still uses it(?s:.*)make run"):
            checkout.ensure()
        assert checkout.done == []
        assert (checkout.venv / "stamp-dev").exists()
    assert checkout.ensure() == ["venv", "dev"]


def test_missing_packages_are_added_while_a_process_uses_the_environment(
    checkout: Checkout,
) -> None:
    checkout.ensure()
    with checkout.in_use():
        assert checkout.ensure("dev") == ["dev"]


def test_the_environment_is_never_made_by_the_python_inside_it() -> None:
    assert sys.prefix != sys.base_prefix, "the tests run in a virtual environment"
    assert not Path(bootstrap.base_python()).is_relative_to(sys.prefix)


def test_the_tests_lock_the_environment_that_they_run_in() -> None:
    folder = os.open(sys.prefix, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(folder)
