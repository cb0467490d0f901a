-- Tables hold what the store's files say; views are the public contract. Unknown is NULL.
CREATE TABLE meta (name VARCHAR PRIMARY KEY, value VARCHAR);
CREATE TABLE current_keys (key VARCHAR PRIMARY KEY);
CREATE TABLE devices_now (device VARCHAR PRIMARY KEY, facts JSON);
CREATE TABLE results (
    path VARCHAR PRIMARY KEY,   -- below results/cells
    size_bytes BIGINT,
    mtime_ns BIGINT,
    superseded BOOLEAN,         -- set aside for a retry
    model VARCHAR, library VARCHAR, library_version VARCHAR, variant VARCHAR, device VARCHAR,
    processor VARCHAR, threads INTEGER, protocol VARCHAR, status VARCHAR, reason VARCHAR,
    latency_ms DOUBLE, latency_ci_low_ms DOUBLE, latency_ci_high_ms DOUBLE, latency_p90_ms DOUBLE,
    launches INTEGER, samples INTEGER, stopped_because VARCHAR, steady_state VARCHAR,
    cold_total_ms DOUBLE, cold_start_ms DOUBLE, cold_import_ms DOUBLE, cold_load_ms DOUBLE,
    cold_first_ms DOUBLE, peak_rss_mb DOUBLE, load_rss_mb DOUBLE, cpu_utilisation DOUBLE,
    other_cpu_utilisation DOUBLE, energy_mj DOUBLE, cosine DOUBLE, max_abs_error DOUBLE,
    top1_match BOOLEAN, artifact_bytes BIGINT, emulated BOOLEAN, flags VARCHAR[], key VARCHAR,
    measured_at TIMESTAMPTZ, experiment VARCHAR, device_facts JSON, causes JSON, log VARCHAR
);
CREATE TABLE series (           -- raw samples, one row per launch and phase
    path VARCHAR, key VARCHAR, launch INTEGER, phase VARCHAR, ms DOUBLE[]
);
CREATE TABLE operator_times (path VARCHAR, key VARCHAR, position INTEGER, name VARCHAR, type VARCHAR, ms DOUBLE);
CREATE TABLE condition_values (
    path VARCHAR, key VARCHAR, t DOUBLE, metric VARCHAR, value DOUBLE, unit VARCHAR
);

CREATE VIEW history AS
SELECT * EXCLUDE (path, size_bytes, mtime_ns),
       key IN (SELECT key FROM current_keys) AND NOT superseded AS is_current
FROM results;

CREATE VIEW cells AS
SELECT * EXCLUDE (is_current, superseded) FROM history WHERE is_current;

CREATE VIEW samples AS
SELECT s.key, s.launch, i.iteration::INTEGER AS iteration, s.phase, s.ms[i.iteration + 1] AS ms,
       r.superseded
FROM series s JOIN results r USING (path), generate_series(0, len(s.ms) - 1) AS i (iteration);

CREATE VIEW operators AS SELECT key, position, name, type, ms FROM operator_times;
CREATE VIEW conditions AS SELECT key, t, metric, value, unit FROM condition_values;
CREATE VIEW devices AS SELECT device, facts FROM devices_now;
