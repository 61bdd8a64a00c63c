"""Every store keeps the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meterlake.adapters.store_folder import FolderStore
from meterlake.adapters.store_memory import MemoryStore
from meterlake.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from pathlib import Path

    from meterlake.ports import Store


class TestFolder(StoreContract):
    """The default."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return FolderStore(tmp_path / "lake")


class TestMemory(StoreContract):
    """The oracle."""

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()
