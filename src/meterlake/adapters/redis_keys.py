"""The live view in Redis: what its keys are called, and the scripts that read and write them.

Everything of a shard lies under ``meterlake:LAKE:SHARD:``. A *column* is the cells of one slot of the rows of one chunk, as
they lie in memory, so that a minute of many meters is a few values; of a meter's column a few bytes are read.

=================== ====== ==========================================================================================
``guard``           hash   generation and log offset of who shows the shard, and the epoch; without it nothing counts
``state``           string planes, open sets, sources, floors; late batches and deliveries that there are
``row/P/B``         hash   meter id -> row and phase within plane P; B is a part of the meters
``c/P/S/SLOT/CHUNK`` string cells of plane P, the set that begins at S: type of the words, then (amount, version) by row
``versions/P/S``    string the versions that cells name, ``losers/P/S`` the readings that lost
``rows/P``          string meters of a plane by row, ``day/P`` what sealed hours add to today
``late`` ``notes``  hash   late readings, and batches that no seal has recorded, by number
``deliveries/N``    string who sent what, ``regions`` ``top`` ``newest`` what is derived, as Arrow streams
=================== ====== ==========================================================================================
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from meterlake.errors import Invalid, MeterlakeError, MissingExtra

if TYPE_CHECKING:
    from types import ModuleType

PASSWORD: Final = "METERLAKE_REDIS_PASSWORD"  # noqa: S105 - the name of a variable
CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0
LOOKUPS: Final = 65_536
"""Parts of the meters of a plane: of three million, about 50 each, which Redis packs."""

BEGIN: Final = """
local held = tonumber(redis.call('HGET', KEYS[1], 'generation') or '-1')
local mine = tonumber(ARGV[1])
if mine < 0 then mine = math.max(held + 1, tonumber(ARGV[2])) end
if held > mine then return {-1, held} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'generation', mine, 'offset', 0, 'epoch', 0, 'whole', 0)
redis.call('SADD', KEYS[2], ARGV[3])
return {1, mine}
"""
"""Take a shard over: who comes with a lower generation than the one that is there is refused."""

WRITE: Final = """
local held = redis.call('HMGET', KEYS[1], 'generation', 'offset')
if not held[1] then return -2 end
if tonumber(held[1]) ~= tonumber(ARGV[1]) then return -1 end
if tonumber(held[2]) > tonumber(ARGV[2]) then return -1 end
local at = 3
while at <= #ARGV do
  local what, key = ARGV[at], ARGV[at + 1]
  if what == 'S' then redis.call('SET', key, ARGV[at + 2]) at = at + 3
  elseif what == 'A' then redis.call('APPEND', key, ARGV[at + 2]) at = at + 3
  elseif what == 'H' then redis.call('HSET', key, ARGV[at + 2], ARGV[at + 3]) at = at + 4
  elseif what == 'h' then redis.call('HDEL', key, ARGV[at + 2]) at = at + 3
  else redis.call('UNLINK', key) at = at + 2 end
end
return 1
"""
"""Do some writes, all of one generation and of an offset that is not behind; -2 where all is gone, -1 where another has it."""

CELLS: Final = """
local found = {}
local prefix = ARGV[1]
local at = 2
while at <= #ARGV do
  local set, width, n = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  for slot = 0, width - 1 do
    for i = 0, n - 1 do
      local chunk, row = ARGV[at + 3 + 2 * i], tonumber(ARGV[at + 4 + 2 * i])
      local key = prefix .. set .. '/' .. slot .. '/' .. chunk
      local head = redis.call('GETRANGE', key, 0, 2)
      if head ~= '' then
        local size = 2 * tonumber(string.sub(head, 3))
        local cell = redis.call('GETRANGE', key, 3 + row * size, 2 + (row + 1) * size)
        if cell ~= '' then
          found[#found + 1] = set .. '/' .. slot
          found[#found + 1] = i
          found[#found + 1] = head .. cell
        end
      end
    end
  end
  at = at + 3 + 2 * n
end
return found
"""
"""Cells of some rows in some sets, one after the other: set and slot, which row, type and cell."""


def lake_key(url: str) -> str:
    """Return what a lake's keys begin with, from whatever folder or host it is named."""
    whole = url if urlsplit(url).scheme else str(Path(url).absolute())
    return f"meterlake:{hashlib.sha256(whole.encode()).hexdigest()[:12]}:"


def redis() -> ModuleType:
    """Return the client library; MissingExtra where it is not installed."""
    try:
        import redis
    except ImportError as error:
        raise MissingExtra("redis", "redis") from error
    return redis


def client(url: str) -> Any:
    """Return a client, which connects when it is first used; the password is the environment's.

    Raises:
        Invalid: the URL is none, or holds a password.

    """
    library = redis()
    if urlsplit(url).password is not None:
        raise Invalid(f"a password in a URL can be seen by others: put it into {PASSWORD}")
    try:
        return library.Redis.from_url(
            url,
            password=os.environ.get(PASSWORD) or None,
            socket_connect_timeout=CONNECT_S,
            socket_timeout=ANSWER_S,
        )
    except ValueError as error:
        raise Invalid(
            f"{url}: write the live view as redis://HOST:PORT, rediss:// or unix:///PATH"
        ) from error


def failed(url: str, error: Exception) -> MeterlakeError:
    """Return what to say where Redis does not do what it is asked."""
    return MeterlakeError(f"Redis at {url}: {error}; start it, or check {PASSWORD} and its memory")


def examined(url: str) -> str:
    """Say which server it is.

    Raises:
        MeterlakeError: it does not answer, drops keys when it is full, or may not be written.

    """
    library = redis()
    with client(url) as server:
        try:
            server.ping()
            told = server.info("server") | server.info("memory")
            server.set("meterlake:doctor", b"1", ex=10)
            server.delete("meterlake:doctor")
            seconds, micros = server.time()
        except library.RedisError as error:
            raise failed(url, error) from error
    policy = told.get("maxmemory_policy", "noeviction")
    if told.get("maxmemory") and policy != "noeviction":
        raise MeterlakeError(
            f"Redis at {url} drops keys when it is full ({policy}): set maxmemory-policy noeviction"
        )
    import time

    apart = seconds + micros / 1e6 - time.time()
    if abs(apart) > 60:
        raise MeterlakeError(
            f"the clock of Redis at {url} is {apart:+,.0f} s from this machine's: set both by NTP"
        )
    return f"{url}: Redis {told['redis_version']}, {int(told['used_memory']):,} bytes used, can be written"
