# One job per model and device, whose id is device/model. A device holds one experiment at a time: the
# resource keeps the jobs of this run apart, a lock that the measuring process holds keeps other runs away.
# While this machine itself is measured, the experiment takes all of it.
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
