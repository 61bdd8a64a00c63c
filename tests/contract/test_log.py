"""Every log and every store of checkpoints keeps its contract; SQLite's also when the disk does not play along."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from threading import Thread

import pytest

from meterlake.adapters.memory_log import MemoryCheckpoints, MemoryKept, MemoryLog
from meterlake.adapters.memory_logs import MemoryLogs
from meterlake.adapters.sqlite_checkpoints import SqliteCheckpoints
from meterlake.adapters.sqlite_log import SqliteLog
from meterlake.adapters.store_checkpoints import StoreCheckpoints
from meterlake.adapters.store_folder import FolderStore
from meterlake.errors import Conflict, Damaged, Invalid, LogFailed, Overloaded
from meterlake.testing.log_contract import CheckpointsContract, LogContract, batch, batches, expected
from meterlake.testing.logs_contract import LogsContract


class TestMemoryLog(LogContract):
    @pytest.fixture
    def log(self):
        return MemoryLog()


class TestMemoryLogs(LogsContract):
    @pytest.fixture
    def logs(self):
        return MemoryLogs()


class TestMemoryCheckpoints(CheckpointsContract):
    @pytest.fixture
    def kept(self):
        return MemoryKept()

    @pytest.fixture
    def checkpoints(self, kept):
        return MemoryCheckpoints(kept)

    @pytest.fixture
    def another(self, kept):
        return lambda: MemoryCheckpoints(kept)


class TestStoreCheckpoints(CheckpointsContract):
    @pytest.fixture
    def store(self, tmp_path):
        return FolderStore(tmp_path)

    @pytest.fixture
    def checkpoints(self, store):
        return StoreCheckpoints(store, "gas-1")

    @pytest.fixture
    def another(self, store):
        return lambda: StoreCheckpoints(store, "gas-1")

    def test_what_counts_no_more_goes_in_the_end(self, store, checkpoints):
        for number in range(40):
            checkpoints.save({f"p{number % 5}": bytes([number]) * 200_000}, [], str(number).encode())
        kept = store.list("live/gas-1/")
        assert sum(one.bytes for one in kept) < 8 << 20
        assert sum(one.name.endswith(".json") for one in kept) == 3
        assert self.loaded(StoreCheckpoints(store, "gas-1")) == (
            b"39", {f"p{number % 5}": bytes([number]) * 200_000 for number in range(35, 40)}
        )  # fmt: skip

    def test_a_flipped_bit_and_a_missing_object_are_found(self, store, checkpoints, tmp_path):
        checkpoints.save({"a": b"1" * 100}, [], b"state")
        (path,) = (tmp_path / "live" / "gas-1").glob("*.data")
        path.write_bytes(b"1" * 50 + b"2" + b"1" * 49)
        with pytest.raises(Damaged, match="piece a"):
            self.loaded(StoreCheckpoints(store, "gas-1"))
        path.unlink()
        with pytest.raises(Damaged, match="missing"):
            self.loaded(StoreCheckpoints(store, "gas-1"))


class TestSqliteLog(LogContract):
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "log.db"

    @pytest.fixture
    def log(self, path):
        log = SqliteLog(path)
        yield log
        log.close()

    def test_it_is_the_same_after_reopening(self, path):
        for first in range(0, 9, 3):
            log = SqliteLog(path)
            assert log.append(batches(first, first + 3)) == first
            log.truncate(first + 1)
            assert log.bounds() == (first + 1, first + 3)
            log.close()
        log = SqliteLog(path)
        assert list(log.read(0)) == expected(7, 9)
        assert log.find(["content:0", "key:own:8"]).keys() == {"content:0", "key:own:8"}
        log.close()

    def test_offsets_of_an_emptied_log_go_on_after_reopening(self, path):
        log = SqliteLog(path)
        log.append(batches(0, 3))
        log.truncate(3, forget_s=0)
        log.close()
        log = SqliteLog(path)
        assert log.bounds() == (3, 3)
        assert log.append([batch(0)]) == 3
        log.close()

    def test_a_second_server_is_refused_until_the_first_lets_go(self, path):
        first = SqliteLog(path)
        with pytest.raises(Conflict, match="another server works on this lake"):
            SqliteLog(path)
        code = f"from pathlib import Path; from meterlake.adapters.sqlite_log import SqliteLog; SqliteLog(Path({str(path)!r}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "Conflict: another server works on this lake" in done.stderr
        first.close()
        SqliteLog(path).close()

    def test_the_file_does_not_grow_when_data_flows_through(self, log, path):
        sizes = []
        for first in range(0, 400, 10):
            log.append(batches(first, first + 10, 100_000))
            log.truncate(first + 5, forget_s=0)
            sizes.append(path.stat().st_size + path.with_name("log.db-wal").stat().st_size)
        assert list(log.read(0)) == expected(395, 400, 100_000)
        assert max(sizes[20:]) == max(sizes[:20]) < 20 << 20

    def test_appends_go_on_while_much_is_truncated_and_read(self, log):
        log.append(batches(0, 400, 100_000))
        cut = Thread(target=log.truncate, args=(390,))
        seen = log.read(0)
        cut.start()
        for k in range(400, 420):
            assert log.append([batch(k)]) == k
        cut.join()
        read = dict(seen)
        assert read.items() <= dict(expected(0, 400, 100_000)).items()
        assert read.keys() >= set(range(390, 400))
        assert log.bounds() == (390, 420)

    def test_many_threads_append_without_gaps(self, log):
        def work(mine):
            for k in mine:
                log.append([batch(k)])

        threads = [Thread(target=work, args=(range(i, 80, 4),)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        read = dict(log.read(0))
        assert list(read) == list(range(80))
        assert sorted(read.values()) == sorted(batch(k).data for k in range(80))

    def test_every_flipped_bit_of_a_batch_is_found(self, path):
        log = SqliteLog(path)
        log.append(batches(0, 5, 50_000))
        log.close()
        content = bytearray(path.read_bytes())
        at = content.index(batch(3).data[:1000])
        for bit in range(0, 400, 7):
            flipped = bytearray(content)
            flipped[at + bit] ^= 1 << bit % 8
            path.write_bytes(flipped)
            log = SqliteLog(path)
            rows = log.read(0)
            assert [next(rows) for _ in range(3)] == expected(0, 3, 50_000)
            with pytest.raises(Damaged, match=r"offset 3 .*restore"):
                next(rows)
            log.close()

    def test_a_changed_memo_is_not_told(self, path):
        log = SqliteLog(path)
        log.append(batches(0, 3))
        log.close()
        path.write_bytes(path.read_bytes().replace(b'"batch": 1', b'"batch": 7'))
        log = SqliteLog(path)
        with pytest.raises(Damaged, match="offset 1"):
            log.find(["content:1"])
        log.close()

    @pytest.mark.parametrize("where", ["offset = 1", "offset >= 2", "offset < 3"])
    def test_missing_batches_are_seen_at_the_start(self, path, where):
        log = SqliteLog(path)
        log.append(batches(0, 3))
        log.close()
        with sqlite3.connect(path) as connection:
            connection.execute(f"DELETE FROM batches WHERE {where}")
        connection.close()
        with pytest.raises(Damaged, match="3 from 0 on belong there"):
            SqliteLog(path)

    def test_a_file_of_something_else_is_damaged_or_refused(self, path):
        path.write_bytes(b"no database at all" * 1000)
        with pytest.raises(Damaged, match=r"log\.db is damaged"):
            SqliteLog(path)
        path.unlink()
        SqliteLog(path).close()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(Invalid, match="later Meterlake"):
            SqliteLog(path)

    def test_a_full_disk_refuses_and_takes_again_once_there_is_room(self, log):
        log.append(batches(0, 2))
        limit = log._file._writer.execute("PRAGMA page_count").fetchone()[0] + 4
        log._file._writer.execute(f"PRAGMA max_page_count = {limit}")
        with pytest.raises(Overloaded, match="full") as refused:
            log.append([batch(2), batch(3, 1_000_000)])
        assert refused.value.retry_after_s > 1
        assert log.bounds() == (0, 2)
        assert log.find(["content:2"]) == {}
        assert log.append([batch(2)]) == 2
        log._file._writer.execute(f"PRAGMA max_page_count = {2**30}")
        assert log.append([batch(3, 1_000_000)]) == 3
        assert list(log.read(3)) == expected(3, 4, 1_000_000)

    def test_after_a_failed_write_nothing_is_taken_until_it_is_opened_anew(self, path):
        log = SqliteLog(path)
        log.append(batches(0, 3))
        with file_size_limit(2_000_000), pytest.raises(LogFailed, match=r"(IOERR|FULL).*restart"):
            log.append([batch(3, 5_000_000)])
        with pytest.raises(LogFailed, match="restart"):
            log.append([batch(4)])
        with pytest.raises(LogFailed):
            log.truncate(2)
        assert list(log.read(0)) == expected(0, 3)
        log.close()
        log = SqliteLog(path)
        assert log.append([batch(3)]) == 3
        assert list(log.read(0)) == expected(0, 4)
        log.close()

    def test_a_closed_log_takes_nothing(self, path):
        log = SqliteLog(path)
        log.close()
        log.close()
        with pytest.raises(LogFailed, match="closed"):
            log.append([batch(0)])


@contextmanager
def file_size_limit(size):
    """Writes beyond ``size`` bytes of a file fail as on a broken disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


class TestSqliteCheckpoints(CheckpointsContract):
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "open.db"

    @pytest.fixture
    def checkpoints(self, path):
        checkpoints = SqliteCheckpoints(path)
        yield checkpoints
        checkpoints.close()

    @pytest.fixture
    def another(self, path):
        with ExitStack() as opened:

            def once_more():
                made = SqliteCheckpoints(path)
                opened.callback(made.close)
                return made

            yield once_more

    def test_it_is_the_same_after_reopening(self, path):
        first = SqliteCheckpoints(path)
        first.save({"a": b"1", "b": b"2" * 100_000}, [], b"state")
        first.close()
        second = SqliteCheckpoints(path)
        assert self.loaded(second) == (b"state", {"a": b"1", "b": b"2" * 100_000})
        second.close()

    def test_a_full_disk_keeps_the_checkpoint_before(self, checkpoints):
        checkpoints.save({"a": b"old"}, [], b"old")
        limit = checkpoints._file._writer.execute("PRAGMA page_count").fetchone()[0] + 4
        checkpoints._file._writer.execute(f"PRAGMA max_page_count = {limit}")
        with pytest.raises(Overloaded, match="full"):
            checkpoints.save({"a": b"new", "b": b"x" * 1_000_000}, [], b"new")
        assert self.loaded(checkpoints) == (b"old", {"a": b"old"})

    def test_the_file_does_not_grow_when_pieces_change(self, checkpoints, path):
        sizes = []
        for k in range(30):
            checkpoints.save({f"{k}/{i}": b"x" * 100_000 for i in range(10)}, [f"{k - 1}/*"], b"")
            sizes.append(path.stat().st_size)
        assert max(sizes[15:]) == max(sizes[:15]) < 8 << 20

    @pytest.mark.parametrize(("what", "named"), [(b"piece", "piece a "), (b"state", "its state")])
    def test_flipped_bits_are_found(self, path, what, named):
        first = SqliteCheckpoints(path)
        first.save({"a": b"piece" * 1000}, [], b"state" * 1000)
        first.close()
        path.write_bytes(path.read_bytes().replace(what * 10, what * 9 + what.upper()))
        second = SqliteCheckpoints(path)
        with pytest.raises(Damaged, match=named):
            self.loaded(second)
        second.close()

    def test_missing_pieces_are_found(self, path):
        first = SqliteCheckpoints(path)
        first.save({"a": b"1", "b": b"2"}, [], b"")
        first.close()
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM pieces WHERE name = 'a'")
        connection.close()
        second = SqliteCheckpoints(path)
        with pytest.raises(Damaged, match="1 pieces are missing"):
            self.loaded(second)
        second.close()
