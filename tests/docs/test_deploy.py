"""What stands in deploy/ is closed by default, names everything that it needs, and calls commands that there are."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import requires
from pathlib import Path

import pytest
import typer

from meterlake.cli import app
from meterlake.roles import ROLES, roles_of
from meterlake.testing.deployed import DEPLOY, compose, kubernetes, settings, variables

ROOT = Path(__file__).resolve().parents[2]
SERVICES = compose()["services"]
PODS = {item["metadata"]["name"]: item for item in kubernetes() if "template" in item.get("spec", {})}


def text(name):
    return (DEPLOY / name).read_text("utf-8")


def parsed(words):
    """Read a command line as our program does; it raises where the program would refuse it."""
    assert words[0] == "meterlake"
    command, rest = typer.main.get_command(app), words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(words[-1], list(rest))
    return command.name, context.params


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_that_it_does_not_need(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    limits = service["deploy"]["resources"]["limits"]
    assert limits["memory"]
    assert limits["cpus"]
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


def test_only_the_door_is_published_and_on_this_machine_alone():
    published = {name: service["ports"] for name, service in SERVICES.items() if service.get("ports")}
    assert published == {"door": ["${METERLAKE_PUBLISH:-127.0.0.1:8080}:8080"]}
    networks = compose()["networks"]
    assert {name for name, told in networks.items() if not told.get("internal")} == {"outside"}
    assert {name for name, service in SERVICES.items() if "outside" in service["networks"]} == {"door", "web"}
    assert {name for name, service in SERVICES.items() if "rooms" in service["networks"]} == {
        "door",
        "web",
        "ingest",
    }


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"setup"}))
def test_a_service_is_asked_how_it_is(name):
    assert SERVICES[name]["healthcheck"]["test"]


def test_every_service_waits_for_services_that_there_are():
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_images_are_pinned():
    for service in SERVICES.values():
        image, _, tag = service["image"].partition(":")
        assert tag not in {"", "latest"}
        assert tag[0].isdigit() or ("build" in service and tag == "${METERLAKE_VERSION:-local}"), image
    for line in re.findall(r"(?m)^FROM (\S+)", text("Dockerfile")):
        stages = re.findall(r"(?m)^FROM .* AS (\S+)", text("Dockerfile"))
        assert line in stages or re.search(r":[0-9]", line)


def test_versions_are_those_that_the_tests_try():
    broker = re.search(
        r"kafka_2.13</artifactId>\s*<version>([^<]+)", (ROOT / "tools/kafka/pom.xml").read_text()
    )[1]
    assert SERVICES["kafka-1"]["image"] == f"apache/kafka:{broker}"
    store = re.search(r"(?m)^VERSITYGW=(\S+)", (ROOT / "tools/services.sh").read_text())[1]
    assert f"versitygw@{store}" in text("Dockerfile")


def test_every_variable_is_in_the_example_and_every_needed_one_is_made():
    example = settings(text("example.env"))
    assert {name for name, _ in variables()} == set(example)
    needed = {name for name, needed in variables() if needed}
    assert needed == set(re.findall(r"(?m)^([A-Z0-9_]+)=$", text("example.env")))


def test_the_passwords_that_are_made_differ_and_nobody_else_can_read_them(tmp_path):
    files = [tmp_path / "one", tmp_path / "other"]
    for file in files:
        subprocess.run(["sh", str(DEPLOY / "secrets.sh"), str(file)], check=True, capture_output=True)
        assert file.stat().st_mode & 0o77 == 0
    told, other = (settings(file.read_text()) for file in files)
    assert set(told) == {name for name, needed in variables() if needed}
    assert not set(told.values()) & set(other.values())
    compose(told)
    again = subprocess.run(
        ["sh", str(DEPLOY / "secrets.sh"), str(files[0])], check=False, capture_output=True
    )
    assert again.returncode == 1
    assert settings(files[0].read_text()) == told


def test_no_password_stands_on_a_command_line():
    secret = re.compile(r"\$\{(\w*(PASSWORD|SECRET)\w*)")
    for service in SERVICES.values():
        assert not secret.search(str(service.get("command")))
        assert not secret.search(str(service.get("healthcheck")))


def test_every_role_runs_with_a_command_that_there_is():
    roles = set()
    for name, service in SERVICES.items():
        command = service.get("command", [])
        if command[:1] == ["meterlake"]:
            told, options = parsed(command)
            assert told == "serve"
            assert roles_of(options["role"]) == {name}
            roles.add(name)
    assert roles == set(ROLES)


def test_kubernetes_runs_every_role_without_rights():
    for name, item in PODS.items():
        pod = item["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            if name != "setup":
                told, options = parsed(container["args"])
                assert told == "serve"
                assert roles_of(options["role"]) == {name}
                assert container["resources"]["limits"]["memory"]
                assert (
                    item["spec"]["selector"]["matchLabels"] == item["spec"]["template"]["metadata"]["labels"]
                )
    assert set(PODS) == {"setup", *ROLES}


@pytest.mark.parametrize("name", ["meterlake.service", "meterlake@.service"])
def test_a_unit_starts_a_command_that_there_is(name):
    unit = text(f"systemd/{name}")
    line = re.search(r"(?m)^ExecStart=/opt/meterlake/bin/(.+)$", unit)[1]
    for role in ROLES:
        words = line.replace("%i", role).replace("${HOST}", "127.0.0.1").replace("${PORT}", "0").split()
        told, options = parsed(words)
        assert told == "serve"
        assert roles_of(options["role"]) <= set(ROLES)
    assert "NoNewPrivileges=yes" in unit
    assert "ProtectSystem=strict" in unit


def test_what_the_parts_need_is_told_alike_everywhere():
    """A variable that compose gives to roles can be given by systemd and Kubernetes too."""
    parts = {name for service in ("web", "batch") for name in SERVICES[service]["environment"]}
    ours = {name for name in parts if name.startswith(("METERLAKE_", "AWS_"))}
    own = {"METERLAKE_S3_ALLOW_HTTP", "METERLAKE_SMTP_URL", "METERLAKE_MAIL_FROM"}  # loopback; as wanted
    assert ours - own <= set(settings(text("systemd/meterlake.env")))
    config = next(item for item in kubernetes() if item["kind"] == "ConfigMap")["data"]
    secret = {"METERLAKE_S3_ENDPOINT"} | {
        name for name in ours if "PASSWORD" in name or name.startswith("AWS_")
    }
    assert ours - own - secret <= set(config)
    page = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    assert all(name in page for name in ours), [name for name in ours if name not in page]


def test_the_image_builds_the_wheel_with_all_that_its_builder_needs():
    named = set(re.search(r"build = /\^\(([^)]+)\)==/", text("Dockerfile"))[1].split("|"))
    asked = {re.match(r"[\w-]+", line)[0] for line in requires("hatchling") if "extra ==" not in line}
    assert named >= {"hatchling", *asked} - {"tomli"}  # which Python has since 3.11


def test_what_is_deployed_is_what_is_tested():
    def locked(name):
        return dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text("utf-8")))

    tested, deployed = locked("requirements.lock"), locked("requirements-deploy.lock")
    assert {name: tested.get(name) for name in deployed} == deployed
    assert not {"pytest", "playwright", "ruff"} & set(deployed)
