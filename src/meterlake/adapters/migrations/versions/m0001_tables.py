"""The tables of a registry as its first layouts had them; what a lake has of them already is left alone.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from meterlake.adapters.registry_schema import Exact

revision = "0001"
down_revision = None

ID = Exact(255)
WORDS = Exact()
BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
HASH = sa.LargeBinary(32).with_variant(mysql.BINARY(32), "mysql", "mariadb")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make what is missing."""
    _account_holds()
    _accounts()
    _api_keys()
    _buckets()
    _customers()
    _links()
    _meters()
    _series()
    _service_points()
    _sessions()
    _state()
    _trail()
    _versions()


def _account_holds() -> None:
    op.create_table(
        "account_holds",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("account", ID, nullable=False),
        sa.Column("service_point", ID, nullable=False),
        sa.Column("from_s", sa.BigInteger(), nullable=True),
        sa.Column("to_s", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        if_not_exists=True,
    )
    op.create_index("account_holds_by_account", "account_holds", ["account"], if_not_exists=True)
    op.create_index("account_holds_by_point", "account_holds", ["service_point"], if_not_exists=True)


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", ID, nullable=False),
        sa.Column("email", ID, nullable=False),
        sa.Column("role", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("locale", WORDS, nullable=False),
        sa.Column("password", WORDS, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("found_by", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
        if_not_exists=True,
    )


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("sha256", HASH, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("scopes", WORDS, nullable=False),
        sa.Column("source", WORDS, nullable=False),
        sa.Column("meters", WORDS, nullable=True),
        sa.Column("best_quality", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("sha256"),
        if_not_exists=True,
    )


def _buckets() -> None:
    op.create_table(
        "buckets",
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("bucket"),
        if_not_exists=True,
    )


def _customers() -> None:
    op.create_table(
        "customers",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("customer_id", ID, nullable=True),
        sa.Column("name", WORDS, nullable=True),
        sa.Column("email", WORDS, nullable=True),
        sa.Column("locale", WORDS, nullable=True),
        sa.Column("extra", WORDS, nullable=True),
        sa.Column("recorded", sa.BigInteger(), nullable=False),
        sa.Column("superseded", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        if_not_exists=True,
    )
    op.create_index("customers_by_key", "customers", ["customer_id"], if_not_exists=True)


def _links() -> None:
    op.create_table(
        "links",
        sa.Column("sha256", HASH, nullable=False),
        sa.Column("account", ID, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sha256"),
        if_not_exists=True,
    )
    op.create_index("links_by_account", "links", ["account"], if_not_exists=True)


def _meters() -> None:
    op.create_table(
        "meters",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("meter_id", ID, nullable=True),
        sa.Column("service_point_id", ID, nullable=True),
        sa.Column("from", sa.BigInteger(), nullable=True),
        sa.Column("to", sa.BigInteger(), nullable=True),
        sa.Column("channels", WORDS, nullable=True),
        sa.Column("interval_s", sa.Integer(), nullable=True),
        sa.Column("multiplier", WORDS, nullable=True),
        sa.Column("extra", WORDS, nullable=True),
        sa.Column("recorded", sa.BigInteger(), nullable=False),
        sa.Column("superseded", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        if_not_exists=True,
    )
    op.create_index("meters_by_key", "meters", ["meter_id"], if_not_exists=True)
    op.create_index("meters_by_point", "meters", ["service_point_id"], if_not_exists=True)


def _series() -> None:
    op.create_table(
        "series",
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", BYTES, nullable=False),
        sa.PrimaryKeyConstraint("part"),
        if_not_exists=True,
    )


def _service_points() -> None:
    op.create_table(
        "service_points",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("service_point_id", ID, nullable=True),
        sa.Column("customer_id", WORDS, nullable=True),
        sa.Column("from", sa.BigInteger(), nullable=True),
        sa.Column("to", sa.BigInteger(), nullable=True),
        sa.Column("latitude", sa.Double(), nullable=True),
        sa.Column("longitude", sa.Double(), nullable=True),
        sa.Column("geohash", WORDS, nullable=True),
        sa.Column("class", WORDS, nullable=True),
        sa.Column("zone", WORDS, nullable=True),
        sa.Column("tariff", WORDS, nullable=True),
        sa.Column("feeder", WORDS, nullable=True),
        sa.Column("transformer", WORDS, nullable=True),
        sa.Column("extra", WORDS, nullable=True),
        sa.Column("recorded", sa.BigInteger(), nullable=False),
        sa.Column("superseded", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        if_not_exists=True,
    )
    op.create_index("service_points_by_key", "service_points", ["service_point_id"], if_not_exists=True)


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("sha256", HASH, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("account", ID, nullable=False),
        sa.Column("csrf", WORDS, nullable=False),
        sa.Column("signed_in_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("address", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
        sa.UniqueConstraint("id"),
        if_not_exists=True,
    )
    op.create_index("sessions_by_account", "sessions", ["account"], if_not_exists=True)


def _state() -> None:
    op.create_table(
        "state",
        sa.Column("name", ID, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
    )


def _trail() -> None:
    op.create_table(
        "trail",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("what", WORDS, nullable=False),
        sa.Column("account", ID, nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("address", WORDS, nullable=False),
        sa.Column("once", ID, nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("once"),
        if_not_exists=True,
    )
    op.create_index("trail_by_account", "trail", ["account", "number"], if_not_exists=True)
    op.create_index("trail_by_subject", "trail", ["subject", "number"], if_not_exists=True)


def _versions() -> None:
    op.create_table(
        "versions",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("version"),
        if_not_exists=True,
    )
