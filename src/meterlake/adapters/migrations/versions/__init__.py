"""One file a migration, named m and its number."""
