# Trained weights, by the digest of their content. A download that can never work has a record, too.
rule download:
    output:
        "results/downloads/{download}/record.json",
    log:
        "results/logs/downloads/{download}.log",
    resources:
        host=25,
    params:
        cellfarm=PIPELINE.command,
        model=lambda wildcards: PIPELINE.model_of_download(wildcards.download),
    shell:
        "{params.cellfarm} download {params.model} {wildcards.download} --log {log}"
