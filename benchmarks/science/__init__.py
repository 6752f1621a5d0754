"""Every rival and the default in one loop, on the same data and seeds: suites, records, statistics and a report.

python -m benchmarks.science run SUITE --data DIR      # resumable, cell by cell
python -m benchmarks.science report                    # reports/rivals.md and its figures, from the records
"""
