"""What the Snakefile asks, and what concerns a run of Snakemake itself."""
