# A stamp records that the warehouse and the report were updated for one situation.
localrules:
    all,
    measured,
    warehouse,
    report,


rule warehouse:
    input:
        lambda wildcards: PIPELINE.experiments(),
    output:
        "results/stamps/{current}-{situation}.warehouse",
    log:
        "results/logs/warehouse-{current}-{situation}.log",
    params:
        job=lambda wildcards: PIPELINE.job("warehouse", wildcards.current),
    shell:
        "{params.job} {wildcards.current}-{wildcards.situation} --log {log:q}"


rule report:
    input:
        "results/stamps/{current}-{situation}.warehouse",
    output:
        "results/stamps/{current}-{situation}.report",
    log:
        "results/logs/report-{current}-{situation}.log",
    params:
        job=lambda wildcards: PIPELINE.job("report", wildcards.current),
    shell:
        "{params.job} {wildcards.current}-{wildcards.situation} --log {log:q}"
