"""A receipt as a person reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meterlake.progress import scaled
from meterlake.readings import channel_family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meterlake.receipt import Receipt

FILES_SHOWN: Final = 20
_FATES: Final = ("stored", "duplicate", "superseded", "conflict", "rejected")


def receipt_lines(receipt: Receipt, *, by_file: bool = True) -> Iterator[str]:
    """Lines of text: what came, what became of it, what was taken for granted, and what it cost.

    ``by_file`` adds a line a file where there are several.
    """
    state = "nothing was written: this is a dry run" if receipt.dry_run else f"version {receipt.version}"
    again = "; the same load landed before, nothing was written" if receipt.replayed else ""
    yield f"load {receipt.load_id}: {state}{again}"
    fates = (
        " + ".join(f"{receipt.count(name):,} {name}" for name in _FATES if receipt.count(name)) or "0 stored"
    )
    replaced = (
        f" ({receipt.count('replaced'):,} of them over a value of the lake)"
        if receipt.count("replaced")
        else ""
    )
    yield f"{receipt.count('received'):,} readings received = {fates}{replaced}"
    if receipt.first is not None:
        yield (
            f"{receipt.meters:,} meters, {receipt.channels:,} channels, {receipt.blocks:,} blocks from {receipt.first} "
            f"to {receipt.last}, {receipt.gaps:,} gaps"
        )
    for channel, amount in receipt.amount.items():
        if amount == "0":
            continue
        family = channel_family(channel)
        yield f"  {channel}: {amount} {family.unit if family else ''}"
    if by_file or receipt.errors:
        yield from _files(receipt)
    for reject in receipt.rejects:
        example = reject["example"]
        text = example["text"]
        yield f"rejected {reject['count']:,} {reject['reason']}, such as {example['file']} line {example['line']}: {text[:80]}"
    if receipt.assumed:
        yield "assumed: " + ", ".join(f"{name} = {value}" for name, value in receipt.assumed.items())
    if receipt.changes is not None:
        yield f"{len(receipt.changes):,} values would be replaced"
    rate = scaled(receipt.readings_per_s, "readings")
    day = receipt.to_json()["day_of_10m_meters_s"]
    pace = f", a day of 10 million meters in {day:,.0f} s at this rate" if day else ""
    yield f"{receipt.seconds:.1f} s, {rate}/s{pace}; {scaled(receipt.bytes_on_disk, 'B')} in the lake"


def _files(receipt: Receipt) -> Iterator[str]:
    """A line a file where some failed or there are several."""
    for file in receipt.files[:FILES_SHOWN]:
        if file.error is not None:
            yield f"  {file.path}: not loaded, {file.error}"
        elif len(receipt.files) > 1:
            refused = f", {file.rejected:,} rejected" if file.rejected else ""
            yield f"  {file.path}: {file.format}, {file.received:,} received, {file.stored:,} stored{refused}"
    if len(receipt.files) > FILES_SHOWN:
        yield f"  … and {len(receipt.files) - FILES_SHOWN:,} more files"
