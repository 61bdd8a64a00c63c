"""The demo: a town is simulated as files, loaded, asked about, and served with live meters and somebody of each role."""
