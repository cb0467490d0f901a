"""What cellfarm itself costs: each module here measures one figure against its target and a baseline.

python -m benchmarks --help
python -m benchmarks planning launch_cost --json figures.json
"""
