# One job per model and device, with the id device/model. A device runs one experiment at a time: the
# resource separates the jobs of this run, and a lock of the measuring process excludes other runs.
# An experiment on this machine itself takes all of it.
for device in PIPELINE.device_names:
    workflow.register_resource(f"device_{device}", 1)

workflow.register_resource("host", 100)


rule experiment:
    input:
        ancient(lambda wildcards: PIPELINE.inputs("experiment", wildcards.id)),
    output:
        "results/experiments/{plan}/{id}.json",
    log:
        "results/logs/experiments/{plan}/{id}.log",
    threads: 0
    resources:
        **{
            f"device_{device}": (
                lambda wildcards, device=device: int(
                    wildcards.id.partition("/")[0] == device
                )
            )
            for device in PIPELINE.device_names
        },
        host=lambda wildcards: (
            100 if PIPELINE.is_host(wildcards.id.partition("/")[0]) else 0
        ),
    params:
        job=lambda wildcards: PIPELINE.job("experiment"),
    shell:
        "{params.job} {wildcards.id:q} --log {log:q}"
