from __future__ import annotations

from itertools import combinations

import pytest

from esap_batch.jobs import InputFile
from esap_batch.products import ProductFile
from esap_batch.provenance import BatchActivity, Production, prov_json
from portal.pages.picture import HEIGHT, MOST, WIDTH, Box, Picture, draw


def file(name: str) -> ProductFile:
    return ProductFile(name, f"/ctao/irf/a/{name}", "", 5760, "0000002a")


def drawn(products: int = 2, steps: int = 2, parents: int = 0) -> Picture:
    production = Production(
        production_id="cta-irf-0123456789ab-g1",
        dataset="/ctao/irf/a",
        run="cta_irf/uws-7",
        owner="alice",
        service_version="0.1.0",
        steering=file("steering.json"),
        products=tuple(file(f"out_{n}.fits") for n in range(products)),
        steps=tuple(
            BatchActivity(
                f"esap-{n}", f"submit_{n}", "lapalma", n + 1, "a", "b", "plain",
                ({"name": "esap-fits", "version": "0.2.0"},),
            )
            for n in range(steps)
        ),
        read={
            f"esap-{steps - 1}": tuple(
                InputFile(f"in_{n}.fits", f"/ctao/dl0/a/in_{n}.fits", 7, "0000002b") for n in range(parents)
            )
        },
    )  # fmt: skip
    return draw(prov_json(production))


def by_title(picture: Picture) -> dict[str, Box]:
    return {box.title: box for box in picture.boxes}


def test_what_came_first_stands_above() -> None:
    found = by_title(drawn())
    order = ["steering.json", "run cta_irf/uws-7", "submit 0", "submit 1", "out_0.fits"]
    heights = [found[title].y for title in order]
    assert heights == sorted(set(heights))
    assert found["out_0.fits"].y == found["out_1.fits"].y


def test_inputs_stand_right_above_what_reads_them() -> None:
    found = by_title(drawn(parents=2))
    assert found["in_0.fits"].y == found["submit 0"].y
    assert found["in_0.fits"].y < found["submit 1"].y


def test_boxes_say_what_was_done_where_with_what() -> None:
    found = by_title(drawn())
    assert found["submit 0"].lines == ("submit 0", "1 job at lapalma", "esap-fits 0.2.0")
    assert found["submit 1"].lines[1] == "2 jobs at lapalma"
    assert found["run cta_irf/uws-7"].lines == ("Run cta_irf/uws-7", "for alice")
    assert found["out_0.fits"].lines == ("out_0.fits", "5.8 kB")


@pytest.mark.parametrize(("products", "steps", "parents"), [(0, 1, 0), (1, 1, 1), (3, 3, 3), (50, 2, 50)])
def test_no_box_lies_on_another_and_all_are_in_the_picture(products: int, steps: int, parents: int) -> None:
    picture = drawn(products, steps, parents)
    for one, other in combinations(picture.boxes, 2):
        assert abs(one.x - other.x) >= WIDTH or abs(one.y - other.y) >= HEIGHT, (one.title, other.title)
    for box in picture.boxes:
        assert box.x >= 0
        assert box.x + WIDTH <= picture.width
        assert box.y + HEIGHT <= picture.height


def test_lines_that_a_longer_way_makes_needless_are_left_out() -> None:
    picture = drawn(products=1, steps=3)
    assert len(picture.lines) == 5  # steering, run, three steps, product: one line after the other
    assert picture.words.startswith("steering.json, then") or "steering.json, then run" in picture.words


def test_many_files_become_a_few_boxes() -> None:
    found = by_title(drawn(products=1000, parents=1000))
    assert sum(title.startswith("out_") for title in found) == MOST
    assert "996 more files" in found
    assert found["996 more files"].lines[1] in ("5.7 MB", "7.0 kB")
    assert len(found) < 20


def test_long_names_are_cut_and_told_in_full() -> None:
    name = "a_very_long_name_of_a_file_that_nobody_would_read.fits.gz"
    document = {"entity": {"ctao:x": {"prov:label": name}}, "activity": {}}
    (box,) = draw(document).boxes
    assert box.title == name
    assert len(box.lines[0]) < len(name)


def test_an_empty_document_is_an_empty_picture() -> None:
    assert draw({}).boxes == ()
