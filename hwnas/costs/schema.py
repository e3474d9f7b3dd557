"""The tables in a cost table's SQLite file."""

__all__ = ["DEVICE_STATES", "SCHEMA", "SCHEMA_VERSION"]

SCHEMA_VERSION = 1

DEVICE_STATES = """
CREATE TABLE IF NOT EXISTS device_state (
    session INTEGER NOT NULL, elapsed_s REAL NOT NULL, clock_hz REAL, memory_clock_hz REAL,
    temperature_c REAL, power_w REAL, throttled_by TEXT NOT NULL);
"""
"""Of what a device did while it was measured; tables from before GPUs could be watched lack it."""

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS target (
    fingerprint TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS kernel (
    key TEXT PRIMARY KEY, signature TEXT NOT NULL, macs INTEGER NOT NULL,
    activation_bytes INTEGER NOT NULL, weight_bytes INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS cost (
    key TEXT NOT NULL, fingerprint TEXT NOT NULL, runtime TEXT NOT NULL, metric TEXT NOT NULL,
    value REAL NOT NULL, low REAL NOT NULL, high REAL NOT NULL, spread REAL NOT NULL,
    repeats INTEGER NOT NULL, outliers INTEGER NOT NULL, provenance TEXT NOT NULL,
    taken TEXT NOT NULL,
    PRIMARY KEY (key, fingerprint, runtime, metric));
CREATE TABLE IF NOT EXISTS network (
    space TEXT NOT NULL, indices TEXT NOT NULL, key TEXT NOT NULL,
    PRIMARY KEY (space, indices));
CREATE TABLE IF NOT EXISTS session (
    number INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, runtime TEXT NOT NULL,
    started TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS item (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS sample (
    session INTEGER NOT NULL, position INTEGER NOT NULL, item INTEGER NOT NULL,
    latency_s REAL NOT NULL, wall_s REAL NOT NULL,
    PRIMARY KEY (session, position)) WITHOUT ROWID;
{DEVICE_STATES}
INSERT OR IGNORE INTO meta VALUES ('schema', '{SCHEMA_VERSION}');
"""
"""Of a whole cost table; all or nothing of it is there."""
