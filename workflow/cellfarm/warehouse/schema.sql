-- Tables hold what the store's files say; views are the public contract. Unknown is NULL.
CREATE TABLE meta (name VARCHAR PRIMARY KEY, value VARCHAR);
CREATE TABLE current_keys (key VARCHAR PRIMARY KEY);
CREATE TABLE devices_now (device VARCHAR PRIMARY KEY, facts JSON);
CREATE TABLE models_now (id VARCHAR, model VARCHAR, parameters BIGINT, flops BIGINT);
CREATE TABLE results (
    path VARCHAR PRIMARY KEY,   -- below results/cells
    size_bytes BIGINT,
    mtime_ns BIGINT,
    superseded BOOLEAN,         -- set aside for a retry
    model VARCHAR, library VARCHAR, library_version VARCHAR, variant VARCHAR, device VARCHAR,
    processor VARCHAR, threads INTEGER, protocol VARCHAR, status VARCHAR, reason VARCHAR,
    /* the columns of the measures */
    artifact_bytes BIGINT, payload_bytes BIGINT, emulated BOOLEAN, flags VARCHAR[], key VARCHAR,
    measured_at TIMESTAMPTZ,
    experiment VARCHAR, drift_ratio DOUBLE, device_facts JSON, causes JSON, log VARCHAR
);
CREATE TABLE series (           -- raw samples, one row per launch and phase
    path VARCHAR, key VARCHAR, launch INTEGER, phase VARCHAR, ms DOUBLE[],
    outliers INTEGER[]          -- positions in ms
);
CREATE TABLE launch_facts (
    path VARCHAR, key VARCHAR, launch INTEGER, mode VARCHAR, round INTEGER, session VARCHAR, status VARCHAR,
    started_at DOUBLE, median_ms DOUBLE, outliers INTEGER, steady_state VARCHAR,
    warmup_iterations INTEGER, affinity INTEGER[], page_cache_share DOUBLE,
    calibration_compute_ms DOUBLE, calibration_memory_ms DOUBLE, waited_s DOUBLE, governor VARCHAR,
    sampling_interval_s DOUBLE, power_meter VARCHAR,
    flags VARCHAR[]
);
CREATE TABLE cold_phases (      -- the start of a process by phase, with the 95 % interval over launches
    path VARCHAR, key VARCHAR, page_cache VARCHAR, phase VARCHAR, ms DOUBLE, low_ms DOUBLE,
    high_ms DOUBLE, launches INTEGER
);
CREATE TABLE operator_times (
    path VARCHAR, key VARCHAR, position INTEGER, name VARCHAR, type VARCHAR, library_type VARCHAR,
    node VARCHAR, ms DOUBLE
);
CREATE TABLE condition_series ( -- one row per launch and metric; t in seconds since the cell's first launch
    path VARCHAR, key VARCHAR, launch INTEGER, metric VARCHAR, unit VARCHAR, t DOUBLE[], value DOUBLE[]
);

CREATE TABLE cell_ratios (
    key VARCHAR, other_key VARCHAR, ratio DOUBLE, ratio_ci_low DOUBLE, ratio_ci_high DOUBLE,
    rounds INTEGER, crosses_experiments BOOLEAN
);

CREATE VIEW history AS
SELECT * EXCLUDE (path, size_bytes, mtime_ns),
       key IN (SELECT key FROM current_keys) AND NOT superseded AS is_current
FROM results;

CREATE VIEW cells AS
SELECT * EXCLUDE (is_current, superseded) FROM history WHERE is_current;

CREATE VIEW samples AS
SELECT key, launch, iteration, phase, ms, superseded,
       CASE WHEN phase = 'warm' THEN list_contains(outliers, iteration) END AS outlier
FROM (
    SELECT s.key, s.launch, unnest(range(len(s.ms)))::INTEGER AS iteration, s.phase,
           unnest(s.ms) AS ms, s.outliers, r.superseded
    FROM series s JOIN results r USING (path)
);

CREATE VIEW cold_starts AS
SELECT c.* EXCLUDE (path), r.superseded FROM cold_phases c JOIN results r USING (path);

CREATE VIEW launches AS
SELECT l.* EXCLUDE (path, started_at), to_timestamp(l.started_at) AS started_at, r.superseded
FROM launch_facts l JOIN results r USING (path);

CREATE VIEW operators AS
SELECT o.* EXCLUDE (path), r.superseded FROM operator_times o JOIN results r USING (path);

CREATE VIEW conditions AS
SELECT c.key, c.launch, unnest(c.t) AS t, c.metric, unnest(c.value) AS value, c.unit, r.superseded
FROM condition_series c JOIN results r USING (path);

-- latency of other_key over that of key, both ways; of current cells, and of older ones measured together
CREATE VIEW ratios AS
SELECT * FROM cell_ratios
UNION ALL
SELECT other_key, key, 1 / ratio, 1 / ratio_ci_high, 1 / ratio_ci_low, rounds, crosses_experiments
FROM cell_ratios;

CREATE VIEW devices AS SELECT device, facts FROM devices_now;

CREATE VIEW models AS SELECT model, id, parameters, flops FROM models_now;
