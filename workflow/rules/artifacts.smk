# Every output is in a folder named by the digest of its causes: if it exists, it is right.
# So inputs are ancient(): their dates mean nothing. A step's id is the end of its folder's path; the frozen plan
# holds everything else that a job needs.
rule model:
    input:
        ancient(lambda wildcards: PIPELINE.inputs("model", wildcards.id)),
    output:
        "results/models/{id}/record.json",
    log:
        "results/logs/models/{id}.log",
    resources:
        host=25,
    params:
        job=lambda wildcards: PIPELINE.job("model"),
    shell:
        "{params.job} {wildcards.id:q} --log {log:q}"


rule derived_model:
    input:
        ancient(lambda wildcards: PIPELINE.inputs("derived", wildcards.id)),
    output:
        "results/derived/{id}/record.json",
    log:
        "results/logs/derived/{id}.log",
    resources:
        host=25,
    params:
        job=lambda wildcards: PIPELINE.job("derived"),
    shell:
        "{params.job} {wildcards.id:q} --log {log:q}"


rule export:
    input:
        ancient(lambda wildcards: PIPELINE.inputs("export", wildcards.id)),
    output:
        "results/exports/{id}/record.json",
    log:
        "results/logs/exports/{id}.log",
    resources:
        host=25,
    params:
        job=lambda wildcards: PIPELINE.job("export"),
    shell:
        "{params.job} {wildcards.id:q} --log {log:q}"


rule artifact:
    input:
        ancient(lambda wildcards: PIPELINE.inputs("artifact", wildcards.id)),
    output:
        "results/artifacts/{id}/record.json",
    log:
        "results/logs/artifacts/{id}.log",
    resources:
        host=25,
    params:
        job=lambda wildcards: PIPELINE.job("artifact"),
    shell:
        "{params.job} {wildcards.id:q} --log {log:q}"
