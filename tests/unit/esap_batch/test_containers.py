from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

from esap_batch.containers import (
    ImageOrder,
    ImageSource,
    Link,
    compile_arguments,
    containerfile,
    image_lfn,
    image_metadata,
    pack,
    pack_tree,
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
    lines = containerfile(RECIPE).splitlines()
    assert lines[0] == "FROM scratch"
    assert lines[-3:] == [
        "COPY corsika /usr/bin/corsika",
        "USER 65534:65534",
        'ENTRYPOINT ["/usr/bin/corsika"]',
    ]
    assert f'LABEL org.opencontainers.image.revision="{recipe_digest(RECIPE)}"' in lines


def test_a_tree_is_packed_the_same_whatever_its_files_dates(tmp_path: Path) -> None:
    program, note = tmp_path / "program", tmp_path / "note"
    program.write_text("#!")
    program.chmod(0o700)
    note.write_text("x")
    tree: dict[str, bytes | Path | Link] = {
        "/bin/p": program,
        "/etc/note": note,
        "/etc/users": b"root",
        "/sbin": Link("bin"),
    }
    first, second = io.BytesIO(), io.BytesIO()
    pack_tree(tree, first)
    os.utime(program, (0, 0))
    pack_tree(dict(reversed(tree.items())), second)
    assert first.getvalue() == second.getvalue()
    with tarfile.open(fileobj=io.BytesIO(first.getvalue())) as tar:
        found = {m.name: (m.mode, m.linkname) for m in tar if not m.isdir()}
    assert found == {
        "bin/p": (0o755, ""),
        "etc/note": (0o644, ""),
        "etc/users": (0o755, ""),
        "sbin": (0o755, "bin"),
    }


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
