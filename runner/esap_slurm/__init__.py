"""Submits, watches and runs the jobs of batches at a SLURM site, on the site itself.

Standard library only, Python >= 3.6. The service packs it into one file (zipapp), puts that into its work
area and starts it on the login node, once per question: `esap_slurm.pyz call` reads the question as JSON from
standard input and prints the answer as JSON. On a worker node the batch script starts
`esap_slurm.pyz run AREA SERIAL`.

A batch has a folder AREA = WORK_AREA/OWNER/GROUP:

=====================  =====================================================================================
file                   content
=====================  =====================================================================================
lock                   held while jobs are submitted or cancelled
0003.json              order of one job array: its jobs in the order of their task ids. It is written before
                       sbatch is called, and the array carries the order's name: a submission that was broken
                       off is found again by that name in the queue or the accounting
0003.batch             what these jobs are to do, for the worker nodes; written before the order, which stays
                       small because every poll reads it
0003.id                SLURM's id of that array
0003.void              an order that never got through; its number is not used again
states.json            the last states, so that nobody is asked again for what has ended
jobs/00012-01/         report and logs of job 12, attempt 1
stages/00012-01        which files that job moves just now
=====================  =====================================================================================
"""
