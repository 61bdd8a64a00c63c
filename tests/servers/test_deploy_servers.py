"""The servers of deploy/compose.yaml run with the settings and command lines that stand there, and ask for their passwords."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from meterlake.adapters.kafka_settings import KafkaUrl
from meterlake.adapters.kafka_topics import create
from meterlake.errors import MeterlakeError
from meterlake.testing.deployed import DEPLOY, compose, settings
from meterlake.testing.servers import processes
from meterlake.testing.servers.kafka import JVM
from meterlake.testing.servers.processes import answers, free_port, home, needed, start, stop, wait

NEEDED = (
    "KAFKA_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "REDIS_PASSWORD",
    "POSTGRES_PASSWORD",
    "SPARK_SECRET",
)


def skip_without(*names):
    for name in names:
        reason = processes.why_not(name)
        if reason is not None:
            pytest.skip(reason)


@pytest.fixture(scope="module")
def told():
    return {name: secrets.token_hex(12) for name in NEEDED} | {"KAFKA_CLUSTER_ID": "d6028daa11ff4762b11ecA"}


@pytest.fixture(scope="module")
def services(told):
    return compose(told)["services"]


@pytest.fixture
def clean(monkeypatch):
    for name in os.environ:
        if name.startswith(("METERLAKE_", "AWS_")) and name not in {
            processes.FOLDER_VARIABLE,
            processes.NEED_VARIABLE,
        }:
            monkeypatch.delenv(name)
    return monkeypatch


def here(value, addresses):
    for there, address in addresses.items():
        value = value.replace(there, address)
    return value


@pytest.fixture(scope="module")
def brokers(services):
    """Three brokers with the file's settings, put into place by the entry class of the image; their addresses."""
    skip_without("kafka")
    names = ["kafka-1", "kafka-2", "kafka-3"]
    addresses = {f"{name}:{port}": f"127.0.0.1:{free_port()}" for name in names for port in (9092, 9093)}
    java = [needed("java"), "-Xmx512m", *JVM, "-cp", f"{needed('kafka-jars')}/*"]
    with home("deploy-kafka") as folder:
        started = []
        for name in names:
            own = folder / name
            for made in ("default", "mounted", "final"):
                (own / made).mkdir(parents=True)
            local = {f"0.0.0.0:{port}": addresses[f"{name}:{port}"] for port in (9092, 9093)}
            local["/var/lib/kafka/data"] = f"{own}/data"
            environment = {
                key: here(value, addresses | local) for key, value in services[name]["environment"].items()
            }
            setup = [*java, "kafka.docker.KafkaDockerWrapper", "setup"]
            for what in ("default", "mounted", "final"):
                setup += [f"--{what}-configs-dir", str(own / what)]
            subprocess.run(setup, env=environment, check=True, capture_output=True)
            started.append(
                start([*java, "kafka.Kafka", str(own / "final" / "server.properties")], own / "log")
            )
        try:
            for name, process in zip(names, started, strict=True):
                port = int(addresses[f"{name}:9092"].rpartition(":")[2])
                wait(lambda port=port: answers(port), process, folder / name / "log")
            yield addresses
        finally:
            for process in started:
                processes.kill(process)


@pytest.mark.xdist_group("kafka")
def test_brokers_take_the_settings_ask_for_the_password_and_keep_three_copies(brokers, services, clean):
    roles = services["ingest"]["environment"]
    for name, value in roles.items():
        if name.startswith("METERLAKE_KAFKA_"):
            clean.setenv(name, value)
    url = KafkaUrl.parse(here(roles["METERLAKE_LOG"], brokers) + "-tried")
    made = []
    wait(lambda: made.extend(create(url, 4, 3)) or True)
    assert {topic.to_json()["replication"] for topic in made} == {3}
    clean.setenv("METERLAKE_KAFKA_SASL_PASSWORD", "wrong")
    with pytest.raises(MeterlakeError):
        create(url, 4, 3)


def meterlake(environment, *words):
    """What a command of ours printed."""
    command = [sys.executable, *(words if words[0].endswith(".py") else ("-m", "meterlake", *words))]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def stands_in(s3, redis, postgres, clean):
    """What of a role's environment names servers that are others here."""
    registry, _, rest = postgres.database().partition(f":{postgres.password}@")
    return s3.env | redis.env | {
        "METERLAKE_REGISTRY": f"{registry}@{rest}", "METERLAKE_REGISTRY_PASSWORD": postgres.password,
        "METERLAKE_ENGINE": "local", "METERLAKE_LIVE": redis.url, "METERLAKE_GRACE": "1s", "METERLAKE_FLUSH": "1s",
    }  # fmt: skip


READINGS = [
    {"meter": f"d{n}", "channel": "electricity.import", "start": f"2026-01-01T{n:02d}:00:00Z", "seconds": 3600, "value": n, "unit": "kWh"}
    for n in range(24)
]  # fmt: skip


def asked(url, key=None, body=None):
    """Status and JSON of a request."""
    head = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, head), timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


@pytest.mark.xdist_group("kafka")
@pytest.mark.timeout(600)
def test_every_role_does_its_work_with_what_it_is_told(brokers, services, stands_in, tmp_path):
    ports = {role: free_port() for role in ("ingest", "live", "seal", "web", "batch")}

    def told(name):
        parts = {key: here(value, brokers) for key, value in services[name]["environment"].items()}
        return {**os.environ, **parts, **stands_in}

    for _ in range(2):
        meterlake(told("setup"), str(DEPLOY / "setup.py"))
    made = meterlake(told("web"), "keys", "create", "test", "--scope", "ingest,read,operate", "-o", "json")
    key = json.loads(made)["key"]
    running = {}
    try:
        for role, port in ports.items():
            words = [word for word in services[role]["command"][1:] if word not in {"--port", "8080"}]
            words = [here(word, {"0.0.0.0": "127.0.0.1"}) for word in words]
            command = [sys.executable, "-m", "meterlake", *words, "--port", str(port)]
            running[role] = start(command, tmp_path / f"{role}.log", env=told(role), cwd=tmp_path)
        for role, port in ports.items():
            ready = lambda port=port: asked(f"http://127.0.0.1:{port}/readyz")[0] == 200  # noqa: E731
            wait(ready, running[role], tmp_path / f"{role}.log")
        sent = f"http://127.0.0.1:{ports['ingest']}/v1/readings"
        status, receipt = asked(sent, key, READINGS)
        assert (status, receipt["accepted"]) == (200, len(READINGS))
        assert asked(sent, key, READINGS)[1]["replayed"]

        def answered():
            url = f"http://127.0.0.1:{ports['web']}/v1/meters/d7/history?from=2026-01-01&to=2026-01-02"
            values = asked(url, key)[1]["values"]
            return [value["value"] for value in values if value["value"] is not None] == [7]

        wait(answered)
        for process in running.values():
            process.terminate()
        assert {role: process.wait(processes.END_S) for role, process in running.items()} == dict.fromkeys(
            running, 0
        )
    finally:
        for process in running.values():
            processes.kill(process)


def test_redis_takes_the_command_and_asks_for_the_password(services, told, tmp_path):
    skip_without("redis")
    import redis

    port = free_port()
    program = processes.program("valkey-server") or needed("redis-server")
    shell, flag, line = services["redis"]["command"]
    line = (
        line.replace("valkey-server", program)
        .replace("port 6379", f"port {port}")
        .replace("/data", str(tmp_path))
    )
    process = start([shell, flag, line], tmp_path / "log", env={"REDIS_PASSWORD": told["REDIS_PASSWORD"]})
    try:
        wait(lambda: answers(port), process, tmp_path / "log")
        with redis.Redis(port=port, password=told["REDIS_PASSWORD"]) as client:
            assert client.ping()
            client.shutdown(nosave=True)
        process.wait(processes.END_S)
    finally:
        stop(process)
    anybody = redis.Redis(port=port)
    with pytest.raises(redis.exceptions.ConnectionError):
        anybody.ping()
    anybody.close()


def test_the_store_takes_the_command_and_gets_its_bucket_once(services, tmp_path):
    skip_without("s3")
    port = free_port()
    (tmp_path / "data").mkdir()
    command = [
        here(word, {":7070": f"127.0.0.1:{port}", "/data": str(tmp_path / "data")})
        for word in services["s3"]["command"]
    ]
    process = start([needed(command[0]), *command[1:]], tmp_path / "log", env=services["s3"]["environment"])
    try:
        wait(lambda: answers(port), process, tmp_path / "log")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            assert answer.status == 200
        environment = services["setup"]["environment"] | {"METERLAKE_S3_ENDPOINT": f"http://127.0.0.1:{port}"}
        spec = spec_from_file_location("setup_once", DEPLOY / "setup.py")
        setup = module_from_spec(spec)
        spec.loader.exec_module(setup)
        for _ in range(2):
            setup.make_bucket(environment)
        assert (tmp_path / "data" / "meterlake").is_dir()
    finally:
        stop(process)


JOB_S = 200  # a session, an executor and two Python workers, on processors that others use too
JOB = """
import sys
from pyspark.sql import SparkSession
session = SparkSession.builder.master(sys.argv[1]).config("spark.cores.max", "1").getOrCreate()
print(session.sparkContext.parallelize(range(10), 2).map(lambda n: n * n).sum())
session.stop()
"""


@pytest.mark.xdist_group("spark")
@pytest.mark.timeout(600)
def test_spark_takes_the_commands_and_works_only_for_who_knows_the_secret(services, told, tmp_path):
    skip_without("spark")
    import pyspark

    root = Path(pyspark.__file__).parent
    (tmp_path / "conf").mkdir()
    shutil.copy(DEPLOY / "spark-defaults.conf", tmp_path / "conf")
    started = []
    ports = {name: free_port() for name in ("master", "master-ui", "worker-ui")}
    names = {"spark-master:7077": f"127.0.0.1:{ports['master']}", "/tmp/work": str(tmp_path / "work")}
    environment = {
        "SPARK_HOME": str(root), "SPARK_CONF_DIR": str(tmp_path / "conf"), "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SCALA_VERSION": "2.13", "PYSPARK_PYTHON": sys.executable,
    }  # fmt: skip

    def spark(name, ui):
        command = [here(word, names) for word in services[name]["command"]]
        swap = {"spark-master": "127.0.0.1", "7077": str(ports["master"]), "8081": str(ports[ui]), "3g": "1g"}
        command = [str(root / "bin" / command[0]), *(swap.get(word, word) for word in command[1:])]
        own = {key: value for key, value in services[name]["environment"].items() if "SPARK" in key}
        started.append(start(command, tmp_path / f"{name}.log", env=environment | own, cwd=tmp_path))
        return started[-1]

    def workers():
        with urllib.request.urlopen(f"http://127.0.0.1:{ports['master-ui']}/json/", timeout=5) as answer:
            return json.load(answer)["workers"]

    def job(secret, name):
        asked = [sys.executable, "-c", JOB, f"spark://127.0.0.1:{ports['master']}"]
        own = environment | {"_SPARK_AUTH_SECRET": secret}
        started.append(start(asked, tmp_path / name, env=own, cwd=tmp_path))
        return started[-1]

    master = spark("spark-master", "master-ui")
    try:
        wait(lambda: answers(ports["master"]), master, tmp_path / "spark-master.log")
        worker = spark("spark-worker", "worker-ui")
        wait(workers, worker, tmp_path / "spark-worker.log")
        done = job(told["SPARK_SECRET"], "right.log")
        done.wait(JOB_S)
        assert "\n285\n" in f"\n{(tmp_path / 'right.log').read_text()}"
        refused = job("wrong", "wrong.log")
        wait(lambda: "Failed to connect to master" in (tmp_path / "wrong.log").read_text(), refused)
        stop(refused)
        assert (tmp_path / "spark-master.log").read_text().count("Registered app") == 1
    finally:
        for process in reversed(started):
            stop(process)


def test_the_example_of_settings_is_what_compose_asks_for(services):
    assert set(settings((DEPLOY / "example.env").read_text("utf-8"))) >= set(NEEDED)
