# The default analysis as a Snakemake workflow: every sub-cube a job of its own on the cores of one node.
# `config` has: settings (the steps' configuration), cube (the file), subcubes (their numbers).

PARTS = expand("parts/part_{number}.fits.gz", number=config["subcubes"])


rule all:
    input:
        "moments.fits",
        "catalogue.vot",
        "mask.fits.gz",
        "overview.png",


rule find:
    input:
        cube=config["cube"],
        settings=config["settings"],
    output:
        "parts/part_{number}.fits.gz",
    log:
        "logs/find_{number}.log",
    shell:
        "esap-ska find --config {input.settings:q} --subcube {wildcards.number} --output {output:q} 2> {log:q}"


rule merge:
    input:
        parts=PARTS,
        settings=config["settings"],
    output:
        "moments.fits",
        "catalogue.vot",
        "mask.fits.gz",
        "overview.png",
    log:
        "logs/merge.log",
    shell:
        "esap-ska merge --config {input.settings:q} {input.parts:q} 2> {log:q}"
