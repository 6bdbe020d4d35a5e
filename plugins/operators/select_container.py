"""Finds the container that a run's jobs need, or makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from esap_batch.containers import IMAGE_FILE, RECIPE_FILE, ImageOrder, image_lfn, image_metadata
from esap_batch.products import (
    ClaimAction,
    ClaimDecision,
    ProductFile,
    decide_claim,
    newest_open,
    next_generation,
)
from hooks.image_builder import Built, ImageBuilder
from hooks.rucio_lake import RucioLake, dump
from hooks.settings import LAKE_CONNECTION, config_dir
from hooks.storage_element import StorageElement
from operators.runs import run_state
from operators.site import run_key

if TYPE_CHECKING:
    from airflow.sdk import Context

LOOK_AGAIN = timedelta(seconds=5)


class SelectContainer(BaseOperator):
    """Selects the image of a configuration in the lake; builds and publishes it where there is none.

    Of several runs that need the same image one builds it, and the others look again until it is published.

    :param steering: what `ValidateRequest` gives.
    :param image: the use case's function from the steering file to `ImageOrder`, or None when its jobs need
        no container.
    :returns: `{"dataset", "recipe", "lfn", "pfn", "size", "adler32", "sha256", "selected"}`; `selected` is
        false when this run has built it. Empty without a container.
    """

    template_fields = ("steering",)

    def __init__(
        self, *, steering: Any, image: Callable[[Mapping[str, Any]], ImageOrder | None], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.image = image

    def execute(self, context: Context) -> dict[str, Any]:
        order = self.image(self.steering)
        if order is None:
            self.log.info("the jobs need no container")
            return {}
        builder = ImageBuilder.configured(config_dir())
        return self._settle(context, builder, builder.recipe(order))

    def resume(self, context: Context, event: Any) -> dict[str, Any]:
        """Look again."""
        return self.execute(context)

    def _settle(self, context: Context, builder: ImageBuilder, recipe: Mapping[str, Any]) -> dict[str, Any]:
        lake = RucioLake.from_connection(LAKE_CONNECTION)
        lost = False
        while True:
            decision = self._decide(context, lake, image_lfn(recipe), lost=lost)
            match decision.action:
                case ClaimAction.USE if selected := _selected(lake, builder.rse, decision.dataset):
                    self.log.info("selected %s, made by %s", decision.dataset, decision.run)
                    return {**selected, "selected": decision.run != run_key(context)}
                case ClaimAction.USE:
                    self.log.warning("%s is not on %s any more", decision.dataset, builder.rse)
                    lost = True
                case ClaimAction.WAIT:
                    self._wait_for(decision)
                case ClaimAction.CREATE if not lake.claim(decision.dataset, {"esap_run": run_key(context)}):
                    self.log.info("another run was faster with %s, looking again", decision.dataset)
                case _:
                    self.log.info("no image of this configuration yet: building %s", decision.dataset)
                    self._publish(lake, builder, recipe, decision.dataset)
                    lost = False

    def _decide(self, context: Context, lake: RucioLake, base: str, *, lost: bool) -> ClaimDecision:
        run, claims = run_key(context), lake.claims(base)
        if lost:
            return ClaimDecision(ClaimAction.CREATE, next_generation(claims))
        standing = newest_open(claims)
        holder = run_state(context, standing.run) if standing and standing.run != run else None
        return decide_claim(base, claims, run, holder, force=False)

    def _wait_for(self, decision: ClaimDecision) -> None:
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        self.log.info("run %s builds %s: waiting for it", decision.run, decision.dataset)
        self.defer(trigger=TimeDeltaTrigger(LOOK_AGAIN), method_name="resume")

    def _publish(
        self, lake: RucioLake, builder: ImageBuilder, recipe: Mapping[str, Any], dataset: str
    ) -> None:
        built = builder.build(recipe)
        lake.add_files(dataset, builder.rse, _store(lake, builder.rse, dataset, built, recipe))
        metadata = image_metadata(recipe, built.sha256, built.made)
        for lfn in (f"{dataset}/{IMAGE_FILE}", dataset):
            lake.set_metadata(lfn, metadata)
        for rse in (builder.rse, *builder.copies):
            lake.add_rule(dataset, rse, activity="Production Output")
        lake.close(dataset)
        self.log.info("published %s: %d bytes by %s", dataset, len(built.content), dict(built.made))


def _store(
    lake: RucioLake, rse: str, dataset: str, built: Built, recipe: Mapping[str, Any]
) -> list[ProductFile]:
    """Write image and recipe to storage."""
    contents = {f"{dataset}/{IMAGE_FILE}": built.content, f"{dataset}/{RECIPE_FILE}": dump(recipe)}
    pfns, storage = lake.pfns(rse, list(contents)), StorageElement()
    files = []
    for lfn, content in contents.items():
        stored = storage.put(pfns[lfn], content)
        files.append(ProductFile(lfn.rsplit("/", 1)[-1], lfn, pfns[lfn], stored.size, stored.adler32))
    return files


def _selected(lake: RucioLake, rse: str, dataset: str) -> dict[str, Any] | None:
    """Describe a published image; None when its file is gone."""
    lfn = f"{dataset}/{IMAGE_FILE}"
    pfn, metadata = lake.pfns(rse, [lfn])[lfn], lake.metadata(dataset)
    stored = StorageElement().stat(pfn)
    if stored is None:
        return None
    return {
        "dataset": dataset,
        "recipe": metadata["image_recipe"],
        "lfn": lfn,
        "pfn": pfn,
        "size": stored.size,
        "adler32": stored.adler32,
        "sha256": metadata["image_sha256"],
    }
