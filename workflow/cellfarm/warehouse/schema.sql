-- Tables hold what the store's files say; views are the public contract. Unknown is NULL.
-- schema.py beside this file fills in what stands behind a dollar, from the measures.
CREATE TABLE meta (name VARCHAR PRIMARY KEY, value VARCHAR);
CREATE TABLE measures (
    name VARCHAR PRIMARY KEY, position INTEGER, essential BOOLEAN,
    times BOOLEAN               -- whether a latency comes from it
);
$measures
CREATE TABLE current_keys (cell_key VARCHAR, measure VARCHAR, key VARCHAR);
CREATE TABLE devices_now (device VARCHAR PRIMARY KEY, facts JSON);
CREATE TABLE models_now (id VARCHAR, model VARCHAR, parameters BIGINT, flops BIGINT);
CREATE TABLE results (
    path VARCHAR PRIMARY KEY,   -- below results/cells
    size_bytes BIGINT,
    mtime_ns BIGINT,
    superseded BOOLEAN,         -- set aside for a retry
    result VARCHAR,             -- its key
    measure VARCHAR,            -- NULL: of the time before measures had results of their own
    state VARCHAR,              -- digest of the cell, its protocol and the causes that all measures share
    model VARCHAR, library VARCHAR, library_version VARCHAR, variant VARCHAR, device VARCHAR,
    processor VARCHAR, threads INTEGER, protocol VARCHAR, status VARCHAR, reason VARCHAR,
    $columns
    artifact_bytes BIGINT, payload_bytes BIGINT, emulated BOOLEAN, flags VARCHAR[],
    measured_at TIMESTAMPTZ, experiment VARCHAR, drift_ratio DOUBLE, device_facts JSON, causes JSON,
    log VARCHAR
);
CREATE TABLE series (           -- raw samples, one row per launch and phase
    path VARCHAR, launch INTEGER, phase VARCHAR, ms DOUBLE[],
    outliers INTEGER[]          -- positions in ms
);
CREATE TABLE launch_facts (
    path VARCHAR, launch INTEGER, mode VARCHAR, round INTEGER, session VARCHAR, status VARCHAR,
    started_at DOUBLE, median_ms DOUBLE, outliers INTEGER, steady_state VARCHAR,
    warmup_iterations INTEGER, affinity INTEGER[], page_cache_share DOUBLE,
    calibration_compute_ms DOUBLE, calibration_memory_ms DOUBLE, waited_s DOUBLE, governor VARCHAR,
    sampling_interval_s DOUBLE, power_meter VARCHAR,
    flags VARCHAR[]
);
CREATE TABLE cold_phases (      -- the start of a process by phase, with the 95 % interval over launches
    path VARCHAR, page_cache VARCHAR, phase VARCHAR, ms DOUBLE, low_ms DOUBLE, high_ms DOUBLE,
    launches INTEGER
);
CREATE TABLE operator_times (
    path VARCHAR, position INTEGER, name VARCHAR, type VARCHAR, library_type VARCHAR, node VARCHAR,
    ms DOUBLE
);
CREATE TABLE condition_series ( -- one row per launch and metric; t in seconds since the result's first launch
    path VARCHAR, launch INTEGER, metric VARCHAR, unit VARCHAR, t DOUBLE[], value DOUBLE[]
);
CREATE TABLE cell_ratios (      -- of the results that a latency comes from
    result VARCHAR, other_result VARCHAR, ratio DOUBLE, ratio_ci_low DOUBLE, ratio_ci_high DOUBLE,
    rounds INTEGER, crosses_experiments BOOLEAN
);

-- Which cell a result belongs to: `key` is the cell's of a current one, its state's of an older one, and its
-- own of one that another has replaced. A cell's launches are numbered through its results.
CREATE TABLE result_keys (
    path VARCHAR, key VARCHAR, is_current BOOLEAN,
    first_launch INTEGER,       -- what the number of its first launch is in the cell
    begins_s DOUBLE             -- when its first launch began, since the cell's first
);

CREATE MACRO keyed_results() AS TABLE
WITH owners AS (
    SELECT r.path, r.result, r.measure, r.superseded, r.state, r.measured_at, c.cell_key,
           coalesce(m.position, 0) AS position
    FROM results r LEFT JOIN measures m ON m.name = r.measure
    LEFT JOIN current_keys c
        ON c.key = r.result AND c.measure = r.measure AND NOT r.superseded
), keyed AS (
    SELECT path, position, cell_key IS NOT NULL AS is_current,
           CASE WHEN cell_key IS NOT NULL THEN cell_key
                WHEN superseded OR measure IS NULL OR row_number() OVER (
                    PARTITION BY state, measure, superseded, cell_key IS NULL
                    ORDER BY measured_at DESC, result
                ) > 1 THEN result
                ELSE state END AS key
    FROM owners
), taken AS (
    SELECT path, count(*) AS launches, min(started_at) AS started_at FROM launch_facts GROUP BY path
)
SELECT path, key, is_current,
       coalesce(sum(launches) OVER (
           PARTITION BY key ORDER BY position, path ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
       ), 0) AS first_launch,
       coalesce(started_at - min(started_at) OVER (PARTITION BY key), 0) AS begins_s
FROM keyed LEFT JOIN taken USING (path);

-- Every cell as it stood at any time, with what its results say together.
CREATE MACRO every_cell() AS TABLE
WITH rows AS (
    SELECT r.*, k.key, k.is_current, coalesce(m.position, 0) AS position,
           coalesce(m.essential, true) AS essential, coalesce(m.times, true) AS times,
           list_position(['failed', 'timeout', 'unsupported', 'wrong', 'ok'], r.status) AS severity
    FROM results r JOIN result_keys k USING (path) LEFT JOIN measures m ON m.name = r.measure
), merged AS (
    SELECT key, is_current, superseded, bool_or(times) AS is_timed,
           -- the worst of the essential ones, and the first result
           arg_min(
               {'status': status, 'reason': reason, 'log': log},
               (CASE WHEN essential THEN 0 ELSE 1 END, severity, position)
           ) AS worst,
           arg_min(
               {'experiment': experiment, 'drift_ratio': drift_ratio, 'facts': device_facts,
                'causes': causes},
               position
           ) AS first,
           any_value(model) AS model, any_value(library) AS library,
           any_value(library_version) AS library_version, any_value(variant) AS variant,
           any_value(device) AS device, any_value(processor) AS processor,
           any_value(threads) AS threads, any_value(protocol) AS protocol,
           $merged
           max(artifact_bytes) AS artifact_bytes, max(payload_bytes) AS payload_bytes,
           bool_or(emulated) AS emulated,
           coalesce(list_sort(list_distinct(flatten(list(flags)))), []) AS flags,
           max(measured_at) AS measured_at
    FROM rows GROUP BY key, is_current, superseded
)
SELECT model, library, library_version, variant, device, processor, threads, protocol,
       worst.status AS status, worst.reason AS reason,
       COLUMNS(* EXCLUDE (
           worst, first, is_current, superseded, is_timed, model, library, library_version, variant, device,
           processor, threads, protocol, key, measured_at
       )),
       key, measured_at, first.experiment AS experiment, first.drift_ratio AS drift_ratio,
       first.facts AS device_facts, first.causes AS causes, worst.log AS log, is_current, superseded,
       is_timed
FROM merged;

CREATE VIEW cells AS
SELECT * EXCLUDE (is_current, superseded, is_timed) FROM every_cell() WHERE is_current;

CREATE VIEW history AS
SELECT r.* EXCLUDE (path, size_bytes, mtime_ns, state), k.key, k.is_current
FROM results r JOIN result_keys k USING (path);

CREATE VIEW samples AS
SELECT key, launch, iteration, phase, ms, superseded,
       CASE WHEN phase = 'warm' THEN list_contains(outliers, iteration) END AS outlier
FROM (
    SELECT k.key, s.launch + k.first_launch AS launch,
           unnest(range(len(s.ms)))::INTEGER AS iteration, s.phase, unnest(s.ms) AS ms, s.outliers,
           r.superseded
    FROM series s JOIN results r USING (path) JOIN result_keys k USING (path)
);

CREATE VIEW cold_starts AS
SELECT k.key, c.* EXCLUDE (path), r.superseded
FROM cold_phases c JOIN results r USING (path) JOIN result_keys k USING (path);

CREATE VIEW launches AS
SELECT k.key, l.* EXCLUDE (path, started_at) REPLACE (l.launch + k.first_launch AS launch),
       to_timestamp(l.started_at) AS started_at, r.superseded
FROM launch_facts l JOIN results r USING (path) JOIN result_keys k USING (path);

CREATE VIEW operators AS
SELECT k.key, o.* EXCLUDE (path), r.superseded
FROM operator_times o JOIN results r USING (path) JOIN result_keys k USING (path);

CREATE VIEW conditions AS
SELECT k.key, c.launch + k.first_launch AS launch, unnest(c.t) + k.begins_s AS t, c.metric,
       unnest(c.value) AS value, c.unit, r.superseded
FROM condition_series c JOIN results r USING (path) JOIN result_keys k USING (path);

-- latency of other_key over that of key, both ways; of current cells, and of older ones measured together
CREATE VIEW ratios AS
WITH keys AS (
    SELECT r.result, k.key FROM results r JOIN result_keys k USING (path) WHERE NOT r.superseded
), known AS (
    SELECT a.key, b.key AS other_key, c.* EXCLUDE (result, other_result)
    FROM cell_ratios c JOIN keys a USING (result) JOIN keys b ON b.result = c.other_result
)
SELECT * FROM known
UNION ALL
SELECT other_key, key, 1 / ratio, 1 / ratio_ci_high, 1 / ratio_ci_low, rounds, crosses_experiments
FROM known;

CREATE VIEW devices AS SELECT device, facts FROM devices_now;

CREATE VIEW models AS SELECT model, id, parameters, flops FROM models_now;
