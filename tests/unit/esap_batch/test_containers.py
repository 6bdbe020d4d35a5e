from __future__ import annotations

import gzip
import io
import tarfile

from esap_batch.containers import (
    ImageOrder,
    ImageSource,
    compile_arguments,
    containerfile,
    image_lfn,
    image_metadata,
    pack,
    recipe_digest,
    recipe_of,
    unpack,
)

ORDER = ImageOrder("corsika", "0.1.0", {"HIGH_MODEL": "EPOS", "THIN": ""})
HOW = ImageSource("toy.c", "/usr/bin/corsika", ("-O2", "-static"), ("m",))
RECIPE = recipe_of(ORDER, HOW, b"int main;")
FILES = {"/usr/bin/corsika": b"program", "/etc/motd": b"hello"}


def test_the_digest_is_of_what_decides_the_image() -> None:
    same = recipe_of(ImageOrder("corsika", "0.1.0", {"THIN": "", "HIGH_MODEL": "EPOS"}), HOW, b"int main;")
    assert recipe_digest(same) == recipe_digest(RECIPE)
    others = [
        recipe_of(ORDER, HOW, b"int main"),
        recipe_of(ImageOrder("corsika", "0.1.1", ORDER.defines), HOW, b"int main;"),
        recipe_of(ImageOrder("corsika", "0.1.0", {"HIGH_MODEL": "EPOS"}), HOW, b"int main;"),
        recipe_of(ORDER, ImageSource("toy.c", "/usr/bin/corsika", ("-O3",), ("m",)), b"int main;"),
        recipe_of(ORDER, ImageSource("toy.c", "/usr/bin/corsika", HOW.flags, ("m",), "debian"), b"int main;"),
    ]
    assert len({recipe_digest(r) for r in [RECIPE, *others]}) == len(others) + 1


def test_the_place_of_the_source_does_not_change_the_digest() -> None:
    elsewhere = ImageSource("/other/toy.c", HOW.program, HOW.flags, HOW.libraries)
    assert recipe_digest(recipe_of(ORDER, elsewhere, b"int main;")) == recipe_digest(RECIPE)


def test_an_image_is_named_by_its_recipe() -> None:
    assert image_lfn(RECIPE) == f"/ctao/esap/images/corsika/{recipe_digest(RECIPE)[:16]}"


def test_the_configuration_goes_to_the_compiler() -> None:
    assert compile_arguments(RECIPE, "/src/toy.c", "out") == [
        *("-O2", "-static", "-DHIGH_MODEL=EPOS", "-DTHIN", "/src/toy.c", "-o", "out", "-lm"),
    ]


def test_the_containerfile_copies_the_program_to_its_place() -> None:
    assert containerfile(RECIPE) == (
        'FROM scratch\nCOPY corsika /usr/bin/corsika\nENTRYPOINT ["/usr/bin/corsika"]\n'
    )


def test_equal_files_are_packed_to_equal_bytes() -> None:
    assert pack(FILES) == pack(dict(reversed(FILES.items())))


def test_what_is_packed_can_be_started() -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(FILES)), mode="r:gz") as tar:
        kinds = {m.name: (m.isdir(), m.mode, m.mtime, m.uid) for m in tar}
    assert kinds == {
        "etc": (True, 0o755, 0, 0),
        "usr": (True, 0o755, 0, 0),
        "usr/bin": (True, 0o755, 0, 0),
        "etc/motd": (False, 0o755, 0, 0),
        "usr/bin/corsika": (False, 0o755, 0, 0),
    }


def test_an_export_of_podman_is_read_back() -> None:
    assert unpack(gzip.decompress(pack(FILES))) == FILES


def test_the_metadata_tell_configuration_and_tools() -> None:
    metadata = image_metadata(RECIPE, "ab", {"builder": "rootfs", "compiler": "cc 12"})
    assert metadata["image_configuration"] == "HIGH_MODEL=EPOS, THIN"
    assert metadata["image_recipe"] == recipe_digest(RECIPE)
    assert (metadata["image_builder"], metadata["image_compiler"]) == ("rootfs", "cc 12")
