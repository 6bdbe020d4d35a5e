"""What a finished batch has made, kept beside its files: XCom carries only where the manifest lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from esap_batch.jobs import InputFile, JobSpec
from esap_batch.products import ProductFile
from esap_batch.provenance import BatchActivity
from esap_batch.retries import Diagnosis

MANIFEST_SCHEMA = 1


@dataclass(frozen=True)
class Manifest:
    """Files, the validators' reports about them, and the activity that made them.

    `files` are in the order of the jobs, `validation` holds entries of the job reports as they are,
    `failed` one sentence for each job that is missing, `missing` the same as `missing_jobs` gives it.
    """

    activity: BatchActivity
    rse: str
    files: tuple[ProductFile, ...]
    validation: tuple[Mapping[str, Any], ...]
    failed: tuple[str, ...] = ()
    missing: tuple[Mapping[str, Any], ...] = ()

    def document(self) -> dict[str, Any]:
        return {"schema": MANIFEST_SCHEMA, **asdict(self)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Manifest:
        """Read what `document` gave; ValueError for another version of it."""
        if document.get("schema") != MANIFEST_SCHEMA:
            raise ValueError(
                f"schema of the manifest = {document.get('schema')!r}: allowed {MANIFEST_SCHEMA}"
            )
        activity = dict(document["activity"])
        activity |= {name: tuple(activity.get(name, ())) for name in ("software", "images")}
        return cls(
            BatchActivity(**activity),
            document["rse"],
            tuple(ProductFile(**f) for f in document["files"]),
            tuple(document["validation"]),
            tuple(document["failed"]),
            tuple(document.get("missing", ())),
        )

    @classmethod
    def joined(cls, manifests: Sequence[Manifest]) -> Manifest:
        """Give the last manifest with the files and reports of those before it, when all make one product."""
        return replace(
            manifests[-1],
            files=tuple(f for m in manifests for f in m.files),
            validation=tuple(v for m in manifests for v in m.validation),
        )

    def as_inputs(self) -> list[InputFile]:
        """Give the files as inputs of a following batch."""
        return [InputFile(f.name, f.lfn, f.size, f.adler32, f.pfn) for f in self.files]


def missing_jobs(jobs: Iterable[JobSpec], failed: Iterable[Diagnosis]) -> list[dict[str, Any]]:
    """Say of each job that is missing which files it owes, why, and what can be done."""
    owed = {job.index: [o.lfn for o in job.outputs] for job in jobs}
    return [
        {
            "job": d.index,
            "files": owed[d.index],
            "diagnosis": d.reason,
            "message": d.message,
            "action": d.action,
        }
        for d in failed
    ]


def build_manifest(
    activity: BatchActivity,
    rse: str,
    reports: Sequence[Mapping[str, Any]],
    failed: Sequence[str],
    missing: Sequence[Mapping[str, Any]] = (),
) -> Manifest:
    """Collect what the reports of the completed jobs say, in the order of the jobs."""
    ordered = sorted(reports, key=lambda r: int(r["index"]))
    times = [(str(r["started"]), str(r["finished"])) for r in ordered]
    if times:
        started, finished = min(t[0] for t in times), max(t[1] for t in times)
        images = {str(r["runtime"]["sha256"]) for r in ordered if r.get("runtime", {}).get("sha256")}
        activity = replace(activity, started=started, finished=finished, images=tuple(sorted(images)))
    return Manifest(
        activity,
        rse,
        tuple(_product_file(o) for r in ordered for o in r["outputs"]),
        tuple(v for r in ordered for v in r["validation"]),
        tuple(failed),
        tuple(missing),
    )


def _product_file(output: Mapping[str, Any]) -> ProductFile:
    # The name on storage, which is unique in the batch; in the job's directory it need not be.
    name = str(output["lfn"]).rsplit("/", 1)[-1]
    checks = str(output["adler32"]), str(output.get("sha256", ""))
    return ProductFile(name, str(output["lfn"]), str(output["pfn"]), int(output["size"]), *checks)
