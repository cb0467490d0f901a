# One job per model and device. A device holds one experiment at a time: the resource keeps the jobs
# of this run apart, a lock that the measuring process holds keeps other runs away. While this machine
# itself is measured, the experiment takes all of it.
for device in PIPELINE.device_names:
    workflow.register_resource(f"device_{device}", 1)

workflow.register_resource("host", 100)


rule experiment:
    input:
        ancient(
            lambda wildcards: PIPELINE.experiment_inputs(
                wildcards.plan, wildcards.device, wildcards.model
            )
        ),
    output:
        "results/experiments/{plan}/{device}/{model}.json",
    log:
        "results/logs/experiments/{plan}/{device}-{model}.log",
    threads: 0
    resources:
        **{
            f"device_{device}": (
                lambda wildcards, device=device: int(wildcards.device == device)
            )
            for device in PIPELINE.device_names
        },
        host=lambda wildcards: 100 if PIPELINE.is_host(wildcards.device) else 0,
    params:
        cellfarm=PIPELINE.command,
    shell:
        "{params.cellfarm} measure {wildcards.plan} {wildcards.device} {wildcards.model} {output} --log {log}"
