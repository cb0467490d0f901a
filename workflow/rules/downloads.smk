# Trained weights, named by the digest of their content. A download that can never succeed has a record, too.
rule download:
    output:
        "results/downloads/{id}/record.json",
    log:
        "results/logs/downloads/{id}.log",
    resources:
        host=25,
    params:
        job=lambda wildcards: PIPELINE.job("download"),
    shell:
        "{params.job} {wildcards.id:q} --log {log:q}"
