"""How a stream on Spark is told what the environment says in the words of another client."""

from __future__ import annotations

import pytest

from meterlake.adapters.kafka_settings import KafkaUrl
from meterlake.adapters.spark_engine import cause
from meterlake.adapters.spark_stream import JARS, security, settings
from meterlake.app import open_stream_job
from meterlake.errors import Invalid
from meterlake.node_settings import NodeSettings
from meterlake.settings import Settings

URL = KafkaUrl.parse("kafka://k:9092/ml")


def test_nothing_is_told_where_nothing_is_set():
    assert security(URL) == {}


@pytest.mark.parametrize(
    ("mechanism", "module"),
    [("PLAIN", "plain.PlainLoginModule"), ("SCRAM-SHA-512", "scram.ScramLoginModule")],
)
def test_a_login_is_told_as_the_java_client_wants_it(monkeypatch, mechanism, module):
    told = {
        "SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": mechanism, "SASL_USERNAME": "lake", "SASL_PASSWORD": 'a"b\\c',
        "SSL_CA_LOCATION": "/etc/ca.pem",
    }  # fmt: skip
    for name, value in told.items():
        monkeypatch.setenv(f"METERLAKE_KAFKA_{name}", value)
    assert security(URL) == {
        "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": mechanism,
        "kafka.ssl.truststore.location": "/etc/ca.pem",
        "kafka.ssl.truststore.type": "PEM",
        "kafka.sasl.jaas.config": (
            f'org.apache.kafka.common.security.{module} required username="lake" password="a\\"b\\\\c";'
        ),
    }


def test_jars_are_those_of_the_folder(monkeypatch, tmp_path):
    assert settings() == {}
    monkeypatch.setenv(JARS, str(tmp_path))
    with pytest.raises(Invalid, match="no jar"):
        settings()
    for name in ("b.jar", "a.jar", "c.txt"):
        (tmp_path / name).touch()
    assert settings() == {"spark.jars": f"{tmp_path}/a.jar,{tmp_path}/b.jar"}


PYTHON = """[PYTHON_EXCEPTION] An exception was thrown from the Python worker: Traceback (most recent call last):
  File "pyspark/worker.py", line 3622, in main
    process()
meterlake.errors.Fenced: electricity-0 is another process's now

 SQLSTATE: 38000
\tat org.apache.spark.SparkErrorUtils(SparkErrorUtils.scala:86)
"""
JAVA = """An error occurred while calling o1.load.
: org.apache.kafka.common.errors.TimeoutException: no broker answered
\tat org.apache.spark.SparkErrorUtils(SparkErrorUtils.scala:86)
"""


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (PYTHON, "meterlake.errors.Fenced: electricity-0 is another process's now"),
        (JAVA, "org.apache.kafka.common.errors.TimeoutException: no broker answered"),
        ("\n the master is gone\n at once", "the master is gone"),
        ("", "it does not say why"),
    ],
)
def test_of_what_spark_says_one_line_is_told(said, found):
    assert cause(said) == found


def test_a_job_needs_kafka(tmp_path):
    with pytest.raises(Invalid, match="--log kafka"):
        open_stream_job(Settings(lake=str(tmp_path)), NodeSettings(), every_s=1, seal_s=None)
