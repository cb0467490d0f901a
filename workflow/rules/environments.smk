# One plain virtual environment per lock; its folder's name, which is the id, contains the lock's digest.
rule environment:
    input:
        ancient(lambda wildcards: PIPELINE.inputs("environment", wildcards.id)),
    output:
        f"{PIPELINE.environments_folder()}/{{id}}/ready.json",
    log:
        "results/logs/environments/{id}.log",
    wildcard_constraints:
        id=r"[^/]+",
    resources:
        host=25,
    params:
        job=lambda wildcards: PIPELINE.job("environment"),
    shell:
        "{params.job} {wildcards.id:q} --log {log:q}"
