"""The embedded local grid: real DiracX, Rucio, PostgreSQL and Airflow on loopback, with declared stand-ins.

Stand-ins, and only these: `programs.site` (DIRAC's optimizer, matcher, pilots and sites), `programs.fts` (FTS
and the tape robot), and moto in place of an S3 store. Everything else is the unmodified software.
"""
