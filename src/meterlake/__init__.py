"""Meterlake: meter readings as interval blocks in an open lake."""
