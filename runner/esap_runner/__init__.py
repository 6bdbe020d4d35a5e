"""Runs one job of a batch on a worker node: `esap_runner.pyz --batch batch.json --index 3 --attempt 1`.

Standard library only, Python >= 3.6; the service packs it into one file (zipapp). Started in the job's own
directory. Writes the job's files, fetches and checks its inputs, runs the payload within its limits, runs
each output's validator, uploads the outputs, and always leaves `job-report.json`. An output that its
validator finds invalid does not fail the job: it is uploaded, and the verdict stands in the report.

Exit codes, each with its reason in the report:

====  =================  ==========================================================
code  reason             meaning
====  =================  ==========================================================
0     OK                 every output is uploaded
10    BAD_DESCRIPTION    batch.json or the command line is wrong
11    SOFTWARE_MISSING   the site lacks the software, the runtime or the command
20    INPUT_MISSING      an input is not there, or nobody may read it
21    INPUT_CORRUPT      an input differs from its size or checksum
22    INPUT_UNREACHABLE  the storage of an input does not answer, or hangs up
30    PAYLOAD_FAILED     the payload ended with an exit code other than 0
31    PAYLOAD_SIGNAL     the payload was killed by a signal that is not the runner's
32    MEMORY_LIMIT       the payload took more memory than the job may
33    TIME_LIMIT         the payload took longer than the job may
34    DISK_LIMIT         the job took more disk than it may, or the disk is full
40    OUTPUT_MISSING     the payload ended well but did not write an output
41    VALIDATOR_FAILED   a validator crashed or printed no report
50    UPLOAD_FAILED      an output did not reach the storage element
60    TERMINATED         the site told the runner to end (SIGTERM, SIGINT, SIGHUP)
70    INTERNAL           a fault of the runner itself
====  =================  ==========================================================
"""

VERSION = "0.4.0"
SCHEMA = 1  # of the description and of the report
