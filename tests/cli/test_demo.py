"""The demo, as `make demo` runs it: from nothing to pages that live."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import httpx
import pytest

from meterlake.testing.serving import START

POINTS = 20


@pytest.fixture
def demo(tmp_path):
    """Start a demo in a folder of its own."""
    with subprocess.Popen(
        [*START, "demo", "--size", str(POINTS), "--folder", str(tmp_path / "demo"), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ) | {"PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        yield process
        process.terminate()


def test_the_demo_serves_somebody_of_each_role_until_it_is_told_to_end(demo):
    said = []
    for line in demo.stdout:
        said.append(line)
        if "Ctrl-C ends it" in line:
            break
    links = re.findall(r"http://\S+/link/\S+", "".join(said))
    assert len(links) == 4, "".join(said)
    for link in links:
        answer = httpx.get(link)
        assert answer.status_code == 200
        assert "password" in answer.text.lower()
    demo.send_signal(signal.SIGTERM)
    assert "The lake stays" in demo.stdout.read()
    assert demo.wait(60) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(links[0])


def test_without_serving_it_ends_after_the_questions(tmp_path):
    done = subprocess.run(
        [*START, "demo", "--size", str(POINTS), "--folder", str(tmp_path / "demo"), "--no-serve"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "$ meterlake usage" in done.stdout
    assert "/link/" not in done.stdout
    again = subprocess.run(
        [*START, "demo", "--folder", str(tmp_path), "--no-serve"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 1
    assert "--folder" in again.stderr
