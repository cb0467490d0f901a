# One plain virtual environment per lock; its folder's name carries the lock's digest.
rule environment:
    output:
        f"{PIPELINE.environments_folder()}/{{name}}-{{digest}}/ready.json",
    log:
        "results/logs/environments/{name}-{digest}.log",
    wildcard_constraints:
        name=r"[A-Za-z0-9@_.+-]+",
        digest=r"[0-9a-f]{12}",
    resources:
        host=25,
    params:
        cellfarm=PIPELINE.command,
    shell:
        "{params.cellfarm} environment {wildcards.name} {wildcards.name}-{wildcards.digest} --log {log}"
