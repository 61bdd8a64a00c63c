"""A partition of a real Kafka keeps the contract of every log, and the topics are as they must be to lose nothing."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka import Message

from meterlake.adapters import kafka_topics
from meterlake.adapters.kafka_logs import KafkaLogs, Sent
from meterlake.adapters.kafka_settings import KafkaUrl
from meterlake.errors import Conflict, NotFound
from meterlake.testing.log_contract import LogContract, batch, batches, expected
from meterlake.testing.logs_contract import LogsContract


@pytest.fixture
def url(kafka):
    return KafkaUrl.parse(f"kafka://{kafka.bootstrap}/t{uuid.uuid4().hex[:8]}")


@pytest.fixture
def logs(url):
    kafka_topics.create(url, 4, 1)
    logs = KafkaLogs(url)
    yield logs
    logs.close()


class TestKafkaLog(LogContract):
    forgets_by_call = False

    @pytest.fixture
    def log(self, logs):
        return logs.shard("gas-1")

    def test_shards_are_apart_and_names_are_common(self, logs):
        one, other = logs.shard("gas-0"), logs.shard("water-0")
        one.append(batches(0, 3))
        other.append(batches(5, 6))
        assert list(one.read(0)) == expected(0, 3)
        assert list(other.read(0)) == [(0, batch(5).data)]
        assert set(one.find(["content:5"])) == {"content:5"}

    def test_names_are_known_to_every_process(self, url, logs):
        logs.shard("gas-0").append(batches(0, 50))
        others = KafkaLogs(url)
        assert set(others.find(["content:0", "key:own:49", "content:50"])) == {"content:0", "key:own:49"}
        others.close()

    def test_what_another_program_writes_is_read_and_gaps_are_passed_over(self, url, logs):
        from confluent_kafka import Producer

        log = logs.shard("gas-1")
        log.append(batches(0, 1))
        other = Producer({"bootstrap.servers": url.servers, "transactional.id": uuid.uuid4().hex})
        other.init_transactions()
        other.begin_transaction()
        other.produce(url.topic("gas"), b"theirs", partition=1)
        other.commit_transaction()
        log.append(batches(3, 4))
        read = list(log.read(0))
        assert [data for _, data in read] == [batch(0).data, b"theirs", batch(3).data]
        assert [at for at, _ in read] in (
            [0, 1, 3],
            [0, 1, 2],
        )  # the mark of a transaction comes when it comes


def test_topics_keep_everything_until_we_delete_it(url):
    made = kafka_topics.create(url, 2, 1)
    assert [(topic.name.rpartition(".")[2], topic.partitions) for topic in made] == [
        ("electricity", 2), ("gas", 2), ("water", 2), ("batches", 2),
    ]  # fmt: skip
    assert kafka_topics.create(url, 2, 1) == made == kafka_topics.topics(url)
    with pytest.raises(Conflict, match="--partitions 2"):
        kafka_topics.create(url, 3, 1)


def test_a_log_without_topics_says_how_to_make_them(url):
    with pytest.raises(NotFound, match="meterlake topics create"):
        KafkaLogs(url)


class TestKafkaLogs(LogsContract):
    pass


def test_a_message_that_was_sent_again_counts_as_durable_wherever_it_is():
    """The client tells no offset where the brokers had the message already."""
    sent = Sent(3)
    for i, message in enumerate((Message(offset=5), Message(), Message(offset=-1))):
        sent.one(i)(None, message)
    sent.wait()
    assert (sent.offsets, sent.error) == ([5, None, None], "")
