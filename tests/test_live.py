"""The page of a run that goes on, served on this machine."""

import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from helpers import WRITTEN_EPOCHS, assert_rejected, repdyn, write_run

from repdyn_keras.report.live import LivePage, Server

pytestmark = pytest.mark.without_keras


@contextmanager
def served(path, **settings):
    with Server(LivePage(path), **settings) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def fetched(server, name="", host=None) -> str:
    request = urllib.request.Request(server.url + name, headers={"Host": host} if host else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode("utf-8")


def add_records(source, target, count):
    """Copies a folder of so many records over another one, as a run that goes on."""
    shutil.rmtree(source, ignore_errors=True)
    write_run(source, epochs=WRITTEN_EPOCHS[:count])
    shutil.copytree(source, target, dirs_exist_ok=True)


def test_a_page_waits_for_records_and_changes_with_them(tmp_path):
    folder = tmp_path / "run"
    with served(folder) as server:
        assert server.url.startswith("http://127.0.0.1:")
        waiting = fetched(server)
        assert "Waiting for the first record" in waiting and str(folder) in waiting
        versions = [fetched(server, "version")]
        for count in (2, 3):
            add_records(tmp_path / "source", folder, count)
            versions.append(fetched(server, "version"))
            page = fetched(server)
            assert f"{count} recorded epochs" in page
            assert "images compared" in page
            assert f'data-live="{versions[-1]}"' in page
        assert len(set(versions)) == 3
        assert not (folder / "report.html").exists(), "nothing is written"
        record = folder / "records" / "epoch-000001.nc"
        record.write_bytes(record.read_bytes()[:-20])
        assert "epoch-000001.nc" in fetched(server), "a damaged record is named"


def test_a_page_that_failed_once_is_made_again(tmp_path, monkeypatch):
    write_run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("repdyn_keras.report.live.report_html", lambda *given: {}["in between"])
        page = LivePage(tmp_path / "run")
        assert b"KeyError" in page.page()
    assert b"recorded epochs" in page.page(), "of the same version"


def test_only_this_machine_is_answered_unless_a_host_is_named(tmp_path):
    with served(tmp_path) as server:
        for host, name in (("evil.example:80", ""), ("evil.example", "version")):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                fetched(server, name, host)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetched(server, "../run.toml")
        port = server.server_address[1]
        for host in (f"localhost:{port}", "127.0.0.1", "[::1]:80"):
            assert fetched(server, "version", host)
        assert_rejected(repdyn("watch", tmp_path, "--port", port), ["free port", str(port)])
    with served(tmp_path, host="0.0.0.0") as server:
        assert fetched(server, "version", "machine.example:80")


@pytest.mark.long
def test_the_command_serves_until_ctrl_c_and_says_what_a_host_opens(tmp_path):
    folder = write_run(tmp_path / "run").path
    code = "from repdyn_keras.cli import main; main()"
    for more, warning in (([], False), (["--host", "0.0.0.0"], True)):
        process = subprocess.Popen(
            [sys.executable, "-c", code, "watch", str(folder), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = process.stdout.readline()
        address = next(word for word in line.split() if word.startswith("http"))
        with urllib.request.urlopen(address.replace("0.0.0.0", "127.0.0.1"), timeout=60) as answer:
            assert b"What happened" in answer.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert ("There is no password" in errors) == warning
