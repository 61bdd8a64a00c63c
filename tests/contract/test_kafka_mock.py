"""Logs in Kafka keep their contract on librdkafka's own mock of three brokers, which needs no Java."""

from __future__ import annotations

import pytest

from meterlake.adapters.kafka_logs import KafkaLogs
from meterlake.adapters.kafka_settings import KafkaUrl
from meterlake.testing.logs_contract import LogsContract

TOPICS = ("electricity", "gas", "water", "batches")


class TestKafkaLogs(LogsContract):
    test_members_share_the_shards_and_read_each_batch_once = None
    """The mock takes half a minute to deal shards out anew: real brokers are asked in its stead."""

    @pytest.fixture
    def logs(self):
        confluent_kafka = pytest.importorskip("confluent_kafka", reason="pip install 'meterlake[kafka]'")
        mock = confluent_kafka.Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3})
        brokers = mock.list_topics(timeout=10).brokers.values()
        url = KafkaUrl.parse(f"kafka://{','.join(f'{one.host}:{one.port}' for one in brokers)}/m")
        maker = confluent_kafka.Consumer(
            {"bootstrap.servers": url.servers, "group.id": "maker", "allow.auto.create.topics": True}
        )
        for name in TOPICS:
            maker.list_topics(url.topic(name), timeout=10)
        maker.close()
        logs = KafkaLogs(url)
        yield logs
        logs.close()
        del mock
