# Every output stands in a folder named by the digest of its causes: if it is there, it is right.
# That is why inputs are ancient(): their dates mean nothing.
rule model:
    input:
        ancient(lambda wildcards: PIPELINE.model_inputs(wildcards.model)),
    output:
        "results/models/{model}/{id}/record.json",
    log:
        "results/logs/models/{model}-{id}.log",
    resources:
        host=25,
    params:
        cellfarm=PIPELINE.command,
    shell:
        "{params.cellfarm} build-model {wildcards.model} {wildcards.id} --log {log}"


rule export:
    input:
        ancient(
            lambda wildcards: PIPELINE.export_inputs(wildcards.model, wildcards.source)
        ),
    output:
        "results/exports/{model}/{source}/{id}/record.json",
    log:
        "results/logs/exports/{model}-{source}-{id}.log",
    resources:
        host=25,
    params:
        cellfarm=PIPELINE.command,
        model_id=lambda wildcards: PIPELINE.model_id(wildcards.model),
    shell:
        "{params.cellfarm} export {wildcards.model} {wildcards.source} {params.model_id} {wildcards.id}"
        " --log {log}"


rule artifact:
    input:
        ancient(
            lambda wildcards: PIPELINE.artifact_inputs(
                f"{wildcards.library}@{wildcards.version}", wildcards.id
            )
        ),
    output:
        "results/artifacts/{library}@{version}/{model}/{variant}/{id}/record.json",
    log:
        "results/logs/artifacts/{library}@{version}-{model}-{variant}-{id}.log",
    resources:
        host=25,
    params:
        cellfarm=PIPELINE.command,
        ids=lambda wildcards: PIPELINE.artifact_sources(
            f"{wildcards.library}@{wildcards.version}", wildcards.id
        ),
    shell:
        "{params.cellfarm} convert {wildcards.library} {wildcards.version} {wildcards.model}"
        " {wildcards.variant} {params.ids} {wildcards.id} --log {log}"
