"""STAND-IN for DIRAC's optimizer, matcher, pilots and two sites: takes waiting jobs and really runs them.

DiracX 0.7 has none of these; in production, DIRAC and its sites provide them. What is real here: every
status, heartbeat and sandbox goes through DiracX over HTTP; the payload is a process with a clean
environment and the JDL's Executable, Arguments, sandboxes and CPUTime (as a limit of wall clock seconds).
What is not: no queue, no pilot, no isolation between jobs; jobs are found in DiracX's database, since no
route gives out a JDL.

A job goes Received, Checking, Waiting, Matched, Running, Completing, Done or Failed. Jobs whose JDL names
another site, or several, stay Waiting.
"""
