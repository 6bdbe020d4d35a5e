"""Open a directory with DL3 and its index tables with gammapy, and print what gammapy made of it."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path


def main(directory: Path) -> None:
    """Print JSON: what the event list, its intervals and the data store hold."""
    from gammapy.data import GTI, DataStore, EventList

    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message=".*dubious year.*")
    path = next(directory.glob("dl3_*.fits.gz"))
    events, gti = EventList.read(path), GTI.read(path)
    store = DataStore.from_dir(directory)
    observation = store.obs(store.obs_ids[0], required_irf=[])
    pointing = observation.get_pointing_icrs(observation.tmid)
    document = {
        "obs_ids": [int(n) for n in store.obs_ids],
        "events": len(events.table),
        "same_events": len(observation.events.table) == len(events.table),
        "ontime_s": float(gti.time_sum.to_value("s")),
        "livetime_s": float(observation.observation_live_time_duration.to_value("s")),
        "start": observation.tstart.utc.isot,
        "pointing_deg": [float(pointing.ra.deg), float(pointing.dec.deg)],
        "largest_offset_deg": float(events.offset.deg.max()),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
