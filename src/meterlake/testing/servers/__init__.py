"""Real servers for tests, each on loopback, each started by a `with` and gone with it: nothing here is a stand-in."""
