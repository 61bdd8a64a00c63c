"""Contracts, fault injection and clocks for anybody who writes an adapter."""
