"""What cellfarm itself costs, and how good its numbers are: figures with targets and baselines.

python -m benchmarks --help
python -m benchmarks planning launch_cost --json figures.json
"""
