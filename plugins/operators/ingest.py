"""Publishes a verified product in the lake."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from esap_batch.products import ProductFile
from esap_batch.provenance import Production, prov_json
from hooks.rucio_lake import dump
from operators.site import Site, owner_of, run_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from esap_batch.manifest import Manifest


class IngestProduct(BaseOperator):
    """Registers the files, with steering file, verdict and provenance beside them, as one dataset.

    Everything before the last step is invisible to a reader who waits for a closed dataset, and every step
    finds what an earlier try did: replicas, metadata, rules, close.

    :param steering: what `ValidateRequest` gives. :param product: what `ClaimProduct` gives.
    :param steps: what each `AwaitJobs` gives, the last one being the product's.
    :param verdict: what `VerifyOutputs` gives.
    :returns: `{"dataset", "production_id", "files", "rules", "rse"}`.
    """

    template_fields = ("steering", "product", "steps", "verdict")

    def __init__(
        self, *, steering: Any, product: Any, steps: Sequence[Any], verdict: Any, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.product = product
        self.steps = steps
        self.verdict = verdict
