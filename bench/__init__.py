"""The questions a utility asks, put to Meterlake, DuckDB, ClickHouse (chDB) and Polars on the same files in one run.

``make bench`` (``python -m bench``) takes about 10 million readings, ``SIZE=small`` is a smoke run, and ``SIZE=large``
loads a simulated day of 10 million meters into Meterlake alone. Engines take turns, each in a process of its
own, so that no engine has the quiet minute of the machine; medians count. All answers are compared as integers in
every round: a difference ends the bench. Results go to ``bench/results/<time>.json``.
"""
